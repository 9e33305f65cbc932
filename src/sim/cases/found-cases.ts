/** What once went wrong, kept for ever: each with what it was then. In the order in which they were found. */
import type { Line } from './script.ts';

/** One case. `vms`: how many VMs run when it begins. */
export interface FoundCase {
  readonly name: string;
  readonly vms: number;
  readonly lines: readonly Line[];
}

/** All of them. */
export const FOUND_CASES: readonly FoundCase[] = [
  {
    name: 'VMs that are placed at the same time took the same slot and the same memory',
    vms: 3,
    lines: [{ afterMs: 0, powerOff: 'h1', forMs: 20_000 }],
  },
  {
    name: 'the migration of a VM that a disk error paused never ended',
    vms: 1,
    lines: [
      { afterMs: 0, wish: 'migrate', vm: 'vm1' },
      { afterMs: 0, powerOff: 's1', forMs: 4_000 },
      { afterMs: 6_000, powerOff: 's1', forMs: 4_000 },
    ],
  },
  {
    name: 'the migration of a VM that was started suspended never ended',
    vms: 2,
    lines: [
      { afterMs: 0, wish: 'suspend', vm: 'vm2' },
      { afterMs: 0, end: 'qemu vm2:1' },
      { afterMs: 3_000, wish: 'migrate', vm: 'vm2' },
      { afterMs: 0, powerOff: 'h1', forMs: 8_000 },
    ],
  },
  {
    name: 'a start that was asked for while the VM was being stopped was forgotten',
    vms: 1,
    lines: [
      { afterMs: 0, wish: 'stop', vm: 'vm1' },
      { afterMs: 5, wish: 'start', vm: 'vm1' },
      { afterMs: 2, end: 'leader' },
    ],
  },
  {
    name: 'a storage service that restarted during a power-off granted the fenced generation again',
    vms: 2,
    lines: [
      { afterMs: 0, wish: 'power-off', vm: 'vm1' },
      { atStep: 'stop commit:stopped', powerOff: 's1', forMs: 500 },
      { afterMs: 2_000, wish: 'start', vm: 'vm1' },
    ],
  },
  {
    name: 'a reset asked for during a conflict was carried out, and its task never ended',
    vms: 2,
    lines: [
      { afterMs: 0, wish: 'reset', vm: 'vm1' },
      { afterMs: 0, wish: 'migrate', vm: 'vm1' },
      { afterMs: 1, wish: 'reset', vm: 'vm1' },
      { afterMs: 3, end: 'leader' },
    ],
  },
  {
    name: 'a VM that was to be stopped was started once more, because its source ended during a migration',
    vms: 2,
    lines: [
      { afterMs: 0, wish: 'migrate', vm: 'vm1' },
      { atStep: 'migrate send', wish: 'stop', vm: 'vm1' },
      { afterMs: 0, end: 'qemu vm1:1' },
    ],
  },
  {
    name: 'a power-off that was asked for while a restart was being decided was overwritten',
    vms: 1,
    lines: [
      { afterMs: 0, guest: 'guest-panicked', vm: 'vm1' },
      { atStep: 'recover commit:starting', wish: 'power-off', vm: 'vm1' },
      { afterMs: 0, end: 'leader' },
    ],
  },
  {
    name: 'a destination ended after it had everything, its leader died, and the next one waited ten minutes for a second stream',
    vms: 1,
    lines: [
      { afterMs: 0, wish: 'migrate', vm: 'vm1' },
      { atStep: 'migrate send', cut: 'control', machine: 'c1', forMs: 9_000 },
      { atStatus: 'postmigrate', generation: 1, end: 'qemu vm1:2' },
      { afterMs: 0, end: 'server c1' },
    ],
  },
  {
    name: 'a leader that was deposed while it stood still continued the source of a migration that had sent everything',
    vms: 1,
    lines: [
      { afterMs: 0, wish: 'suspend', vm: 'vm1' },
      { atStatus: 'paused', generation: 1, wish: 'resume', vm: 'vm1' },
      { atStep: 'running cont', freeze: 'leader', forMs: 6_000 },
      { atStatus: 'running', generation: 1, wish: 'migrate', vm: 'vm1' },
    ],
  },
  {
    name: 'a leader that was deposed while it stood still continued the source between its last word and its fence',
    vms: 1,
    lines: [
      { afterMs: 0, wish: 'migrate', vm: 'vm1' },
      { atStep: 'migrate commit:switching', freeze: 'leader', forMs: 6_000 },
    ],
  },
  {
    name: 'two rounds of probes at the same time met the same silence, and a host was given up by one',
    vms: 2,
    lines: [
      { afterMs: 0, powerOff: 's1', forMs: 2_500 },
      { afterMs: 2_400, cut: 'storage', machine: 'h1', forMs: 600 },
      { afterMs: 0, cut: 'control', machine: 'h1', forMs: 600 },
    ],
  },
  {
    name: 'the task of a deletion that the leader had not been shown by its watch was never ended',
    vms: 2,
    lines: [
      { afterMs: 0, wish: 'migrate', vm: 'vm2' },
      { atStep: 'migrate commit:migrating', wish: 'delete', vm: 'vm2' },
      { afterMs: 0, end: 'etcd c1' },
    ],
  },
  {
    name: 'a commit was applied late whose overtaking had got no answer either, and another VM had taken its slot meanwhile',
    vms: 2,
    lines: [
      // Then c1 leads, and etcd's leader is another one's member.
      { afterMs: 0, end: 'server c2' },
      { afterMs: 0, end: 'server c3' },
      { afterMs: 0, end: 'etcd c1' },
      { afterMs: 6_000, powerOff: 'h1', forMs: 40_000 },
      { afterMs: 0, powerOff: 'h2', forMs: 40_000 },
      { atStep: 'recover commit:starting', freeze: 'etcd c2', forMs: 10_000 },
      { afterMs: 0, freeze: 'etcd c3', forMs: 10_000 },
      { afterMs: 3_100, end: 'etcd c2' },
      { afterMs: 0, end: 'etcd c3' },
    ],
  },
  {
    name: 'the deadline of a stop was written by a leader whose clock was an hour ahead, and the next one waited for it',
    vms: 1,
    lines: [
      { afterMs: 0, deafen: 'vm1' },
      { afterMs: 0, jump: 'leader', byMs: 3_600_000 },
      { afterMs: 0, wish: 'stop', vm: 'vm1' },
      { atStep: 'stop power-down', end: 'leader' },
    ],
  },
  {
    name: 'a storage service that had stood still carried out an order to grant when the VM was being stopped already',
    vms: 1,
    lines: [
      { afterMs: 0, wish: 'power-off', vm: 'vm1' },
      { afterMs: 2_000, wish: 'start', vm: 'vm1' },
      { atStep: 'start grant', freeze: 'storage s1', forMs: 20_000 },
      { afterMs: 0, freeze: 'storage s2', forMs: 20_000 },
      { afterMs: 1_000, wish: 'power-off', vm: 'vm1' },
      // What fences it comes later.
      { afterMs: 0, cut: 'control', machine: 's1', forMs: 21_000 },
      { afterMs: 0, cut: 'control', machine: 's2', forMs: 21_000 },
      { afterMs: 21_000, wish: 'start', vm: 'vm1' },
    ],
  },
  {
    name: 'a source that sent a second time had forgotten how long it may hold its guest still, and its leader had not',
    vms: 1,
    lines: [
      { afterMs: 0, busy: 'vm1' },
      { afterMs: 0, wish: 'migrate', vm: 'vm1' },
      // The third time it may take as long as it needs.
      { atStep: 'migrate allow-pause', busy: 'vm1' },
      { atStep: 'migrate allow-pause', busy: 'vm1' },
      { atStep: 'migrate allow-pause', end: 'qemu vm1:2' },
      { afterMs: 8_000, wish: 'migrate', vm: 'vm1' },
    ],
  },
  {
    name: 'a storage service that came back while it could not read the record of a VM served its disks to nobody, and the guest was continued again and again',
    vms: 1,
    lines: [
      { afterMs: 0, spoil: 'vm1', forMs: 5_000 },
      { afterMs: 100, powerOff: 's1', forMs: 1_000 },
      { afterMs: 0, powerOff: 's2', forMs: 1_000 },
    ],
  },
  {
    name: 'a guest that was booting when its power button was pressed was powered off hard when its time was over',
    vms: 1,
    lines: [
      { afterMs: 0, deafen: 'vm1' },
      { afterMs: 0, wish: 'stop', vm: 'vm1' },
      { atStep: 'stop power-down', end: 'leader' },
      { atStep: 'stop power-down', undeafen: 'vm1' },
      { atStatus: 'shutdown', generation: 1, wish: 'start', vm: 'vm1' },
    ],
  },
  {
    name: 'a guest that was paused during its move ran on until the move ended',
    vms: 1,
    lines: [
      { afterMs: 0, busy: 'vm1' },
      { afterMs: 0, wish: 'migrate', vm: 'vm1' },
      { atStep: 'migrate send', wish: 'suspend', vm: 'vm1' },
      { atStatus: 'paused', generation: 1, wish: 'stop', vm: 'vm2' },
      // The migration goes on, and the guest arrives running.
      { atStep: 'migrate commit:running', wish: 'resume', vm: 'vm1' },
      { atStatus: 'running', generation: 2, wish: 'migrate', vm: 'vm1' },
    ],
  },
  {
    name: 'a move could not be taken back before it was over',
    vms: 1,
    lines: [
      { afterMs: 0, busy: 'vm1' },
      { afterMs: 0, wish: 'migrate', vm: 'vm1' },
      { atStep: 'migrate allow-pause', wish: 'cancel', vm: 'vm1' },
      { atStep: 'migrate cancel-send', end: 'leader' },
      { atStatus: 'ended', generation: 2, wish: 'suspend', vm: 'vm1' },
      { atStatus: 'paused', generation: 1, wish: 'migrate', vm: 'vm1' },
    ],
  },
];
