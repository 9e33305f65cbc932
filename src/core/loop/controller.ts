/**
 * Everything a leader does, put together from ports: the same class runs in production and in the simulator. It lives for one term.
 */
import type { VmId } from '../../base/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { HostLink } from '../ports/host-link.ts';
import type { Log } from '../ports/log.ts';
import type { Paths } from '../ports/paths.ts';
import type { QmpLink } from '../ports/qmp-link.ts';
import type { StorageLink } from '../ports/storage-link.ts';
import type { LeaderStore } from '../ports/store.ts';
import { type CredentialIssuer, Executor, type ExecutorPorts } from './executor.ts';
import { HostLoop } from './host-loop.ts';
import { HostObserver } from './observer.ts';
import { StorageObserver } from './storage-observer.ts';
import { type CrashPoint, VmLoop } from './vm-loop.ts';

export interface ControllerPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly hosts: HostLink;
  readonly storage: StorageLink;
  readonly qmp: QmpLink;
  readonly paths: Paths;
  readonly credentials: CredentialIssuer;
  readonly storageTlsName: ExecutorPorts['storageTlsName'];
  readonly crashPoint: CrashPoint;
}

/** One leader's work, from `start` to `stop`; a new term needs a new one. */
export class Controller {
  readonly observer: HostObserver;
  readonly storageObserver: StorageObserver;
  readonly vms: VmLoop;
  readonly #hostLoop: HostLoop;
  readonly #ports: ControllerPorts;

  constructor(ports: ControllerPorts) {
    this.#ports = ports;
    const { clock, log, store, hosts, storage, qmp, paths } = ports;
    this.observer = new HostObserver(
      { clock, hosts, paths },
      { onReport: (host) => this.#hostLoop.reported(host), onState: (host) => this.vms.wakeHost(host) },
    );
    this.storageObserver = new StorageObserver({ clock, storage }, () => this.vms.wakeAll());
    this.#hostLoop = new HostLoop({ clock, log, store, hosts, observer: this.observer });
    const executor = new Executor({
      store,
      hosts,
      storage,
      qmp,
      credentials: ports.credentials,
      storageTlsName: ports.storageTlsName,
      networkPlan: (host) => this.#hostLoop.planFor(host),
    });
    this.vms = new VmLoop({
      clock,
      log,
      store,
      qmp,
      executor,
      observer: this.observer,
      storageAnswers: (node) => this.storageObserver.answers(node),
      crashPoint: ports.crashPoint,
      onPlacementChange: () => this.#hostLoop.placementChanged(),
    });
  }

  /** Begins to lead. */
  start(): void {
    const { store } = this.#ports;
    store.onChange(({ kind, id }) => {
      if (kind === 'vm') this.vms.wake(id as VmId);
      if (kind === 'host') this.#watchHosts();
      if (kind === 'storage') this.#watchStorage();
      if (kind === 'network') this.#hostLoop.placementChanged();
    });
    this.#watchHosts();
    this.#watchStorage();
    this.vms.wakeAll();
  }

  /** Ends the term: no step begins after this. */
  stop(): void {
    this.vms.stop();
    this.#hostLoop.stop();
    this.observer.stop();
    this.storageObserver.stop();
  }

  #watchHosts(): void {
    this.observer.watch([...this.#ports.store.snapshot.hosts.values()].map(({ value }) => value));
    this.vms.wakeAll();
  }

  #watchStorage(): void {
    this.storageObserver.watch([...this.#ports.store.snapshot.storage.keys()]);
  }
}
