/** Chance from the operating system. */
import { randomBytes } from 'node:crypto';

/** This many random bytes in lower-case hexadecimal. */
export function randomHex(bytes: number): string {
  return randomBytes(bytes).toString('hex');
}
