/** Taps: a VM's network cards on this host's side. Pure: their names and what a QEMU's arguments say about them. */

export interface Tap {
  readonly device: string;
  readonly vni: number;
  readonly mac: string;
}

/** At most 15 characters (IFNAMSIZ): slot to 999, card to 15. */
export function tapName(slot: number, nic: number): string {
  return `gpt${slot}n${nic}`;
}

/** The slot of a tap's name; undefined for an interface that is no tap of ours. */
export function slotOfTap(device: string): number | undefined {
  const slot = /^gpt(\d{1,3})n\d{1,2}$/.exec(device)?.[1];
  return slot === undefined ? undefined : Number(slot);
}

/**
 * The id of the card's `-netdev`: it names the network and the address, so that the process table alone says to which
 * network and card a tap belongs. Ids of backends are no part of the migrated machine.
 */
export function netdevId({ vni, mac }: Omit<Tap, 'device'>): string {
  return `net.v${vni}.${mac.replaceAll(':', '')}`;
}

/** The tap that an argument of `-netdev` names, or undefined. */
export function parseTap(argument: string): Tap | undefined {
  const match = /^tap,id=net\.v(\d{1,8})\.([0-9a-f]{12}),ifname=(gpt\d{1,3}n\d{1,2}),/.exec(argument);
  const [, vni, mac, device] = match ?? [];
  if (vni === undefined || mac === undefined || device === undefined) return undefined;
  return { device, vni: Number(vni), mac: (mac.match(/../g) ?? []).join(':') };
}
