/** The content of a report before it is formatted as text, JSON, CSV or HTML: finished sentences and names. */
import type { Evidence } from '../estate/estate.ts';
import type { Verdict } from '../findings/drain.ts';
import type { Confidence } from '../findings/guest-clusters.ts';
import type { LossFinding } from '../findings/loss.ts';

export interface ReportReason {
  readonly text: string;
  /** Empty if the reason concerns the host itself. */
  readonly vm: string;
  readonly cure: string;
  readonly confirm: string;
  /** ID of a line of the coverage, or empty. */
  readonly gap: string;
  readonly evidence: readonly Evidence[];
}

export interface ReportGap {
  readonly id: string;
  readonly platform: string;
  readonly text: string;
  readonly fix: string;
  /** True if hosts are not proved to be drainable because of the gap. */
  readonly blocks: boolean;
}

export interface ReportHost {
  readonly id: string;
  readonly host: string;
  readonly cluster: string;
  readonly platform: string;
  readonly verdict: Verdict;
  /** How many VMs have to move. */
  readonly vms: readonly string[];
  readonly reasons: readonly ReportReason[];
  readonly doubts: readonly ReportReason[];
  /** How many VMs of other hosts have to make room first. */
  readonly displaced: number;
}

export interface ReportCluster {
  readonly id: string;
  readonly confidence: Confidence;
  readonly vms: readonly { readonly vm: string; readonly host: string }[];
  readonly text: string;
  readonly signs: readonly string[];
  readonly confirm: string;
  readonly evidence: readonly Evidence[];
}

export interface ReportTie {
  readonly id: string;
  readonly level: 'blocks' | 'warns' | 'informs';
  readonly kind: string;
  readonly vm: string;
  readonly host: string;
  readonly text: string;
  readonly confirm: string;
  readonly evidence: readonly Evidence[];
}

export interface ReportLoss {
  readonly id: string;
  readonly host: string;
  readonly cluster: string;
  readonly verdict: LossFinding['verdict'];
  readonly text: string;
  /** VMs that stay down with the host. */
  readonly bound: readonly string[];
  readonly unplaced: readonly string[];
  readonly evidence: readonly Evidence[];
}

export interface ReportCure {
  readonly text: string;
  readonly items: number;
  readonly hosts: number;
  readonly frees: readonly string[];
  readonly freesSoFar: number;
  readonly downtimeMin: number;
  readonly approvals: number;
  readonly gib: number;
  /** Empty without prices. */
  readonly cost: string;
}

/** A line for a change ticket. */
export interface ReportTicket {
  readonly ticketKey: string;
  readonly host: string;
  readonly vm: string;
  readonly owner: string;
  readonly reason: string;
  readonly evidence: string;
  readonly cure: string;
  readonly downtimeMin: number;
  readonly approvals: number;
  readonly gib: number;
  readonly cost: string;
  readonly confidence: string;
  readonly alsoFrees: readonly string[];
}

export interface Report {
  readonly format: 'groundplane audit 1';
  readonly summary: {
    readonly hosts: number;
    readonly vms: number;
    readonly can: number;
    readonly cannot: number;
    readonly notProved: number;
    readonly certain: number;
    readonly member: number;
    readonly probable: number;
    readonly collision: number;
    readonly blockingTies: number;
    readonly notCovered: number;
  };
  readonly sources: readonly { readonly platform: string; readonly file: string }[];
  readonly ignored: readonly string[];
  readonly coverage: readonly ReportGap[];
  readonly hosts: readonly ReportHost[];
  readonly clusters: readonly ReportCluster[];
  readonly ties: readonly ReportTie[];
  readonly losses: readonly ReportLoss[];
  /** Rules that need every host of their cluster. */
  readonly slack: readonly { readonly id: string; readonly text: string; readonly evidence: readonly Evidence[] }[];
  /** Remarks that hold no VM. */
  readonly notes: readonly { readonly id: string; readonly text: string; readonly evidence: readonly Evidence[] }[];
  readonly cures: readonly ReportCure[];
  readonly tickets: readonly ReportTicket[];
}
