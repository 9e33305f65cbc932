/**
 * A host of network-scenario.ts: applies the plans that come as lines of JSON on standard input, in its own network
 * namespace.
 */

import { createInterface } from 'node:readline';
import { messageOf } from '../../base/errors.ts';
import { HostGuests } from '../../core/agent/host-guests.ts';
import { HostNetwork } from '../../core/agent/host-network.ts';
import type { NetworkPlan } from '../../core/ports/host-link.ts';
import { createLog } from '../../os/log.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import { MetadataService } from '../metadata/service.ts';
import { NetworkDriver } from '../network/driver.ts';
import type { WantedTap } from '../network/link-plan.ts';

const [name = '', controlAddress = '', overlayAddress = '', runDir = ''] = process.argv.slice(2);
let taps: readonly WantedTap[] = [];
const driver = new NetworkDriver({
  endpoint: { address: overlayAddress, device: 'ovl0' },
  hostAddresses: [controlAddress, overlayAddress],
  runDir,
  dropsRoot: false,
  log: createLog({ component: 'test', name }),
});
const guests = new HostGuests();
const metadata = new MetadataService(guests, createLog({ component: 'test', name }));
const network = new HostNetwork(async (plan) => {
  await driver.make(plan, () => taps);
  guests.planned(plan);
  metadata.follow();
});
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as { readonly plan: NetworkPlan; readonly taps: readonly WantedTap[] };
  taps = request.taps;
  const startedMs = monotonicMs();
  const error = await network.apply(request.plan).then(() => null, messageOf);
  const { acknowledged } = guests;
  process.stdout.write(
    `answer ${JSON.stringify({ acknowledged, error, tookMs: Math.round(monotonicMs() - startedMs) })}\n`,
  );
}
