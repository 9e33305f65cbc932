/** Whether a machine has the addresses that its configuration gives it. Pure. */
import { CodedError } from '../base/errors.ts';

/**
 * Refuses to join with an address that is on no interface of this machine: `addresses` by network, as configured; `own`
 * are those of the interfaces. CodedError 'not-found', since an interface may get its address later.
 */
export function demandOwnAddresses(addresses: Readonly<Record<string, string>>, own: readonly string[]): void {
  const strange = Object.entries(addresses).filter(([, address]) => !own.includes(address));
  if (strange.length === 0) return;
  const which = strange.map(([network, address]) => `the ${network} address ${address}`).join(', ');
  throw new CodedError(
    'not-found',
    `No interface of this machine has ${which} of its configuration; they have ${own.length === 0 ? 'none' : own.join(', ')}.`,
    {
      advice:
        'Nothing was sent, and the token is still good. Correct the address in the configuration, or bring the interface up.',
    },
  );
}
