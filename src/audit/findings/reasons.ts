/**
 * Reasons why a host cannot be drained, or is not proved to be drainable. They name objects of the estate; the report
 * makes sentences of them.
 */
import type { Evidence, Gap, Rule, Tie, Unknown, Vm } from '../estate/estate.ts';

/** A reason that holds whatever information the export lacks. */
export type Reason =
  | { readonly kind: 'tie'; readonly vm: Vm; readonly tie: Tie }
  /** No possible target has the storage of the VM's disk. */
  | {
      readonly kind: 'storage';
      readonly vm: Vm;
      readonly storage: string;
      readonly evidence: Evidence;
      readonly gib: number;
    }
  | { readonly kind: 'media'; readonly vm: Vm; readonly storage: string; readonly evidence: Evidence }
  | {
      readonly kind: 'network';
      readonly vm: Vm;
      readonly network: string;
      /** True: the network ends at the host. False: no possible target has the network. */
      readonly isIsolated: boolean;
      readonly evidence: Evidence;
    }
  /** Each of the VM's disks and networks exists elsewhere, but no single host has all of them. */
  | { readonly kind: 'no common host'; readonly vm: Vm; readonly evidence: Evidence }
  | { readonly kind: 'no target'; readonly cluster: string; readonly vms: number; readonly evidence: Evidence }
  | { readonly kind: 'too large'; readonly vm: Vm; readonly neededMib: number; readonly largestMib: number }
  | {
      readonly kind: 'memory';
      readonly neededMib: number;
      readonly freeMib: number;
      readonly hosts: number;
      /** The largest VMs and hosts of the sums. */
      readonly evidence: readonly Evidence[];
    }
  | { readonly kind: 'rule'; readonly rule: Rule; readonly members: number; readonly hosts: number }
  /** VMs that must be on one host, and that no other host has room for, or that have no possible target in common. */
  | {
      readonly kind: 'together';
      readonly rule: Rule;
      readonly members: number;
      readonly neededMib: number;
      /** Memory of the largest other host; null: the VMs have no possible target in common. */
      readonly largestMib: number | null;
    };

/** A reason why a host is not proved to be drainable. */
export type Doubt =
  | { readonly kind: 'gap'; readonly gap: Gap }
  | { readonly kind: 'unknown'; readonly vm: Vm; readonly unknown: Unknown }
  /** Holds only if the VM runs, which is unknown. */
  | { readonly kind: 'if running'; readonly vm: Vm; readonly reason: Reason | null }
  | {
      readonly kind: 'reach';
      readonly vm: Vm;
      readonly what: 'storage' | 'network';
      readonly name: string;
      readonly evidence: Evidence;
    }
  | { readonly kind: 'cpu'; readonly vm: Vm; readonly evidence: Evidence }
  | { readonly kind: 'memory unknown'; readonly name: string; readonly of: 'host' | 'vm'; readonly evidence: Evidence }
  | {
      readonly kind: 'overcommit';
      readonly neededMib: number;
      readonly freeMib: number;
      /** The largest VMs and hosts of the sums. */
      readonly evidence: readonly Evidence[];
    }
  | { readonly kind: 'no placement found'; readonly vms: readonly Vm[] }
  | { readonly kind: 'count'; readonly said: number; readonly listed: number; readonly evidence: Evidence }
  /** The cluster keeps room for lost hosts; without this host it would have less than that. */
  | {
      readonly kind: 'reserve';
      readonly lost: number;
      readonly neededMib: number;
      /** Memory that is left after the drain and the losses; null: no host is left. */
      readonly leftMib: number | null;
      readonly evidence: Evidence;
    }
  | { readonly kind: 'state unknown'; readonly evidence: Evidence }
  | { readonly kind: 'no cluster'; readonly evidence: Evidence };
