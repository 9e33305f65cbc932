/** Scenarios that once ended badly, kept for ever: each with what was wrong then. */
import type { Scenario } from './scenario.ts';

/** In the order they were found. */
export const FOUND: readonly { readonly name: string; readonly scenario: Scenario }[] = [
  {
    name: 'VMs that are placed at the same time took the same slot and the same memory',
    scenario: { seed: 0, vms: 3, actions: [{ afterMs: 0, action: { do: 'kill-host', host: 0 } }] },
  },
  {
    name: 'the migration of a VM that a disk error paused never ended',
    scenario: {
      seed: 0,
      vms: 1,
      actions: [
        { afterMs: 0, action: { do: 'migrate', vm: 0 } },
        { afterMs: 0, action: { do: 'crash-storage', node: 0 } },
        { afterMs: 2_000, action: { do: 'crash-storage', node: 0 } },
      ],
    },
  },
  {
    name: 'the migration of a VM that was started suspended never ended',
    scenario: {
      seed: 0,
      vms: 4,
      actions: [
        { afterMs: 0, action: { do: 'suspend', vm: 3 } },
        { afterMs: 0, action: { do: 'crash-qemu', vm: 3 } },
        { afterMs: 0, action: { do: 'migrate', vm: 3 } },
        { afterMs: 0, action: { do: 'kill-host', host: 0 } },
      ],
    },
  },
  {
    name: 'a start that was asked for while the VM was being stopped was forgotten',
    scenario: {
      seed: 0,
      vms: 1,
      actions: [
        { afterMs: 0, action: { do: 'stop', vm: 0 } },
        { afterMs: 0, action: { do: 'start', vm: 0 } },
        { afterMs: 0, action: { do: 'crash-leader-at', step: 1 } },
      ],
    },
  },
  {
    name: 'a storage service that restarted during a power-off granted the fenced generation again',
    scenario: {
      seed: 0,
      vms: 2,
      actions: [
        { afterMs: 0, action: { do: 'crash-storage', node: 1 } },
        { afterMs: 0, action: { do: 'delete', vm: 1 } },
        { afterMs: 150, action: { do: 'crash-storage', node: 0 } },
        { afterMs: 0, action: { do: 'start', vm: 0 } },
      ],
    },
  },
  {
    name: 'a reset asked for during a conflict was carried out, and its task never ended',
    scenario: {
      seed: 110_688_315,
      vms: 2,
      actions: [
        { afterMs: 3, action: { do: 'reset', vm: 1 } },
        { afterMs: 0, action: { do: 'migrate', vm: 1 } },
        { afterMs: 3, action: { do: 'migrate-to', vm: 0, host: 0 } },
        { afterMs: 3, action: { do: 'start', vm: 0 } },
        { afterMs: 0, action: { do: 'reset', vm: 1 } },
        { afterMs: 0, action: { do: 'crash-leader-at', step: 3 } },
      ],
    },
  },
  {
    name: 'a VM that was to be stopped was started once more, because its source ended during a migration',
    scenario: {
      seed: 0,
      vms: 3,
      actions: [
        { afterMs: 0, action: { do: 'migrate', vm: 2 } },
        { afterMs: 0, action: { do: 'crash-storage', node: 0 } },
        { afterMs: 700, action: { do: 'crash-qemu', vm: 0 } },
        { afterMs: 0, action: { do: 'stop', vm: 2 } },
        { afterMs: 0, action: { do: 'kill-host', host: 1 } },
      ],
    },
  },
  {
    name: 'a power-off that was asked for while a restart was being decided was overwritten',
    scenario: {
      seed: 0,
      vms: 2,
      actions: [
        { afterMs: 3, action: { do: 'migrate-to', vm: 0, host: 0 } },
        { afterMs: 6_000, action: { do: 'guest-panics', vm: 1 } },
        { afterMs: 0, action: { do: 'power-off', vm: 1 } },
        { afterMs: 150, action: { do: 'lose', percent: 0 } },
        { afterMs: 0, action: { do: 'crash-leader' } },
      ],
    },
  },
];
