/** Chance, as whatever also runs in the simulator takes it: from the operating system, or from the seed. */

/** This many random bytes in lower-case hexadecimal: for parts of names that must not collide. */
export type RandomHex = (bytes: number) => string;
