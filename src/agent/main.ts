/**
 * The agent of a host: `main.ts --config FILE`. Guarantees: it keeps no file but its identity; it may be killed at any
 * moment without disturbing a VM or a network, and finds everything again when it starts.
 */

import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CodedError, messageOf } from '../base/errors.ts';
import { VERSION } from '../base/version.ts';
import { AgentHost } from '../core/agent/agent-host.ts';
import { PORTS, SLOTS_PER_HOST } from '../core/model/ports.ts';
import { systemClock } from '../os/clock.ts';
import { makePrivateDirectory } from '../os/files.ts';
import { reportReady, startHeartbeat } from '../os/heartbeat.ts';
import { createLog, type Log } from '../os/log.ts';
import type { Credentials } from '../pki/credentials.ts';
import { type Joined, joinPatiently, loadOrJoin } from '../rpc/join.ts';
import type { OwnIdentity } from '../rpc/own-identity.ts';
import { startService } from '../rpc/service.ts';
import { ArtifactCache } from './artifacts.ts';
import { type AgentConfig, readAgentConfig } from './config.ts';
import { FIRST_QEMU_UID, findIncarnations } from './incarnations.ts';
import { LinuxMachine } from './linux-machine.ts';
import { MetadataService } from './metadata/service.ts';
import { boundDeadConnections, NetworkDriver } from './network/driver.ts';
import { HostPorts } from './network/port-filter.ts';
import { probeAccelerator } from './qemu/probe.ts';
import { agentRoutes } from './routes.ts';

const TIDY_MS = 2_000;
const CLOSE_DEADLINE_MS = 500;

async function main(): Promise<void> {
  startHeartbeat();
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  if (values.config === undefined) throw new CodedError('bad-input', 'Usage: main.ts --config FILE');
  const config = await readAgentConfig(values.config);
  const log = createLog({ component: 'agent', name: config.name });
  prepareMachine(config, log);
  await makePrivateDirectory(config.stateDir);
  const credentials = await loadOrJoin(join(config.stateDir, 'identity'), () => joinBy(config, log));
  checkName(config, credentials);

  const probe = probeAccelerator(
    config.accelerator ?? 'auto',
    config.runDir,
    config.qemuUsers === 'per-slot' ? FIRST_QEMU_UID : null,
  );
  void probe.then(({ accelerator, reason }) => {
    if (reason === null) log.info('accelerator', { accelerator });
    else log.warn('guests run in software emulation, which is slow', { accelerator, reason });
  });
  const machine = new LinuxMachine({
    config,
    probe,
    artifacts: new ArtifactCache(join(config.runDir, 'artifacts'), credentials),
    network: networkDriver(config, log),
    ports: hostPorts(config, log),
  });
  const host: AgentHost = new AgentHost({
    ...{ name: config.name, version: VERSION, machine, clock: systemClock, log },
    onPlanned: () => metadata.follow(),
  });
  const metadata = new MetadataService(host.guests, log);
  const tidy = (): void =>
    void host.tidy().catch((error: unknown) => log.warn('tidying failed', { reason: messageOf(error) }));
  tidy();
  setInterval(tidy, TIDY_MS);
  await serve(config, { credentials, host, log });
}

async function serve(
  config: AgentConfig,
  { credentials, host, log }: { readonly credentials: OwnIdentity; readonly host: AgentHost; readonly log: Log },
): Promise<void> {
  // The storage address too: when a host's control network is cut, control nodes reach it through a storage node.
  const addresses = [...new Set([config.controlAddress, config.storageAddress])];
  const routes = [...agentRoutes(host), ...credentials.routes];
  const onUnexpected = (error: unknown, request: string): void =>
    log.warn('a request failed unexpectedly', {
      request,
      reason: messageOf(error),
      stack: error instanceof Error ? error.stack : undefined,
    });
  const services = await Promise.all(
    addresses.map((address) => startService({ credentials, address, port: PORTS.agent, routes, onUnexpected })),
  );
  reportReady();
  log.info('serving', { addresses, port: PORTS.agent, incarnations: host.report().incarnations.length });
  const stop = (): void => {
    void Promise.all(services.map((service) => service.close(CLOSE_DEADLINE_MS))).finally(() => process.exit(0));
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

function networkDriver(config: AgentConfig, log: Log): NetworkDriver {
  return new NetworkDriver({
    endpoint: { address: config.overlayAddress, device: config.overlayDevice },
    hostAddresses: [config.controlAddress, config.storageAddress, config.overlayAddress],
    runDir: config.runDir,
    dropsRoot: config.qemuUsers === 'per-slot',
    log,
  });
}

function hostPorts({ qemuUsers }: AgentConfig, log: Log): HostPorts {
  const last = FIRST_QEMU_UID + SLOTS_PER_HOST - 1;
  return new HostPorts({
    slotUsers: qemuUsers === 'per-slot' ? { first: FIRST_QEMU_UID, last } : null,
    running: () => findIncarnations().map(({ slot, needs }) => ({ uid: FIRST_QEMU_UID + slot, ...needs })),
    log,
  });
}

/** Prepares what QEMUs that run as other users need on the machine. */
function prepareMachine(config: AgentConfig, log: Log): void {
  mkdirSync(config.runDir, { recursive: true, mode: 0o755 });
  boundDeadConnections(log);
  if (config.qemuUsers !== 'per-slot') return;
  if (process.geteuid?.() !== 0)
    throw new CodedError('bad-input', 'qemuUsers "per-slot" needs root.', {
      advice: 'Run the agent as root, or set qemuUsers to "self".',
    });
  // Others may pass through, but not list the directory.
  chmodSync(config.runDir, (statSync(config.runDir).mode & 0o777) | 0o711);
  try {
    // As systemd-udevd does it (50-udev-default.rules): a tap is protected by its owner, not by the mode of this file.
    if ((statSync('/dev/net/tun').mode & 0o006) !== 0o006) chmodSync('/dev/net/tun', 0o666);
  } catch (error) {
    log.warn('/dev/net/tun cannot be used: VMs with network cards will not start here', { reason: messageOf(error) });
  }
}

/** Joins the cluster with the token named in the configuration. */
function joinBy(
  { join: by, name, controlAddress, storageAddress, overlayAddress }: AgentConfig,
  log: Log,
): Promise<Joined> {
  return joinPatiently(by, {
    role: 'host',
    name,
    addresses: { control: controlAddress, storage: storageAddress, overlay: overlayAddress },
    port: PORTS.control,
    proofPort: PORTS.agent,
    onWait: (reason) => log.info('not joined yet', { reason }),
  });
}

function checkName({ name, stateDir }: AgentConfig, { certPem }: Credentials): void {
  const { subject } = new X509Certificate(certPem);
  if (subject === `CN=host:${name}`) return;
  throw new CodedError('conflict', `The identity in ${stateDir} is ${subject}, and the configuration says ${name}.`, {
    advice: 'Nothing was changed. Remove the identity to join under the new name.',
  });
}

main().catch((error: unknown) => {
  process.stderr.write(`agent: ${messageOf(error)}\n`);
  process.exit(1);
});
