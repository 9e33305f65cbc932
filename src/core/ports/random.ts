/** Random numbers for code that also runs in the simulator: from the operating system, or from the seed. */

/** This many random bytes in lower-case hexadecimal: for parts of names that must not collide. */
export type RandomHex = (bytes: number) => string;
