/** Known mistakes, made on purpose: each replaces one port by a broken one, to show that the simulated world notices. */
import type { ControllerPorts } from '../core/loop/controller.ts';

/** A mistake. `rules`: one of them, at least, must be found broken. */
export interface PlantedBug {
  readonly name: string;
  readonly rules: readonly string[];
  readonly plant: (ports: ControllerPorts) => ControllerPorts;
}

/** One for each way in which a fencing protocol usually goes wrong. */
export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'a fence that does nothing and says it did',
    rules: ['G5-cont-current-and-fenced', 'W1-writes-follow-generations', 'W2-one-writer'],
    plant: (ports) => ({ ...ports, storage: { ...ports.storage, fence: async () => ({ revoked: [] }) } }),
  },
  {
    name: 'an incarnation is continued before its fence is acknowledged',
    rules: ['G5-cont-current-and-fenced'],
    plant: (ports) => ({
      ...ports,
      storage: {
        ...ports.storage,
        fence: async (...order) => {
          ports.clock.after(1_000, () => void ports.storage.fence(...order).catch(() => undefined));
          return { revoked: [] };
        },
      },
    }),
  },
  {
    name: 'a migration that is undone leaves its destination granted',
    rules: ['G6-nothing-else-granted'],
    plant: (ports) => ({ ...ports, storage: { ...ports.storage, revoke: async () => undefined } }),
  },
  {
    name: 'one missed heartbeat is taken for a lost host',
    rules: ['V1-lost-when-unreached'],
    plant: (ports) => ({ ...ports, paths: { ...ports.paths, probe: async () => ({ outcome: 'silent', lateMs: 0 }) } }),
  },
  {
    name: 'a destination is believed without its source',
    rules: ['M1-switch-when-both-paused'],
    plant: (ports) => {
      const { qmp } = ports;
      const observe: typeof qmp.observe = async (target) => {
        const seen = await qmp.observe(target);
        const sending = seen.kind === 'answers' && seen.migration !== null && seen.migration.status !== 'none';
        return sending ? { ...seen, status: 'postmigrate', migration: null } : seen;
      };
      return { ...ports, qmp: { ...bound(qmp), observe } };
    },
  },
];

/** The methods of a QMP link, still on the link they belong to. */
function bound(qmp: ControllerPorts['qmp']): ControllerPorts['qmp'] {
  return {
    observe: (target) => qmp.observe(target),
    cont: (target) => qmp.cont(target),
    halt: (target) => qmp.halt(target),
    reset: (target) => qmp.reset(target),
    powerDown: (target) => qmp.powerDown(target),
    quit: (target) => qmp.quit(target),
    listen: (destination, source) => qmp.listen(destination, source),
    send: (source, destination) => qmp.send(source, destination),
    cancelSend: (source) => qmp.cancelSend(source),
    onEvent: (listener) => qmp.onEvent(listener),
    forget: (vm, generation) => qmp.forget(vm, generation),
  };
}
