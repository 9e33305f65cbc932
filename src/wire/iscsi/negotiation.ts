/**
 * Operational keys of iSCSI (RFC 7143, section 13): a target's answers and the resulting parameters. Guarantees: pure;
 * a value outside its range is answered with Reject and changes nothing; an unknown key with NotUnderstood.
 */
import type { TextPairs } from './text-keys.ts';

/** The parameters of a connection after negotiation. Lengths in bytes. */
export interface IscsiParameters {
  headerDigest: boolean;
  dataDigest: boolean;
  initialR2T: boolean;
  immediateData: boolean;
  /** The longest data segment that the initiator accepts. */
  maxSendBytes: number;
  maxBurstBytes: number;
  firstBurstBytes: number;
  maxOutstandingR2T: number;
}

/** The longest data segment that we take: MaxRecvDataSegmentLength as we declare it. */
export const RECEIVE_BYTES_MAX = 256 * 1024;
/** The most that an initiator may send unasked: enough for most writes, so that they need no R2T and no wait for it. */
const FIRST_BURST_BYTES_MAX = 256 * 1024;
const MAX_BURST_BYTES = 1024 * 1024;
const OUTSTANDING_R2T_MAX = 4;
/** Longest value of a key that is a list or a number (13.1). */
const VALUE_LENGTH_MAX = 255;

/** The values that apply if neither side names one (section 13). */
export function defaultParameters(): IscsiParameters {
  return {
    headerDigest: false,
    dataDigest: false,
    initialR2T: true,
    immediateData: true,
    maxSendBytes: 8192,
    maxBurstBytes: 262144,
    firstBurstBytes: 65536,
    maxOutstandingR2T: 1,
  };
}

const REJECT = 'Reject';
type Answer = string | null;
type Key = (parameters: IscsiParameters, value: string) => Answer;

function digest(name: 'headerDigest' | 'dataDigest'): Key {
  return (parameters, value) => {
    const chosen = value.split(',').find((each) => each === 'CRC32C' || each === 'None');
    if (chosen === undefined) return REJECT;
    parameters[name] = chosen === 'CRC32C';
    return chosen;
  };
}

/** A number in the range of its key; hexadecimal is allowed (6.1). */
function numberOf(value: string, { min, max }: { min: number; max: number }): number | undefined {
  if (!/^([0-9]{1,10}|0[xX][0-9a-fA-F]{1,8})$/.test(value)) return undefined;
  const number = Number(value);
  return number >= min && number <= max ? number : undefined;
}

const SEGMENT = { min: 512, max: 0xffffff };

/** The smaller of both sides' values holds. */
function smaller(name: 'maxBurstBytes' | 'firstBurstBytes' | 'maxOutstandingR2T', own: number): Key {
  const range = name === 'maxOutstandingR2T' ? { min: 1, max: 65535 } : SEGMENT;
  return (parameters, value) => {
    const number = numberOf(value, range);
    if (number === undefined) return REJECT;
    parameters[name] = Math.min(number, own);
    return String(parameters[name]);
  };
}

function choice(set: (parameters: IscsiParameters, said: boolean) => boolean): Key {
  return (parameters, value) => {
    if (value !== 'Yes' && value !== 'No') return REJECT;
    return set(parameters, value === 'Yes') ? 'Yes' : 'No';
  };
}

/** A number with one possible result here: `own`, or the initiator's number if `combine` accepts that. */
function number(range: { min: number; max: number }, combine: (said: number) => number): Key {
  return (_, value) => {
    const said = numberOf(value, range);
    return said === undefined ? REJECT : String(combine(said));
  };
}

const ignored: Key = () => null;

const KEYS: Readonly<Record<string, Key>> = {
  HeaderDigest: digest('headerDigest'),
  DataDigest: digest('dataDigest'),
  InitialR2T: choice((parameters, said) => {
    parameters.initialR2T = said;
    return said;
  }),
  ImmediateData: choice((parameters, said) => {
    parameters.immediateData = said;
    return said;
  }),
  MaxRecvDataSegmentLength: (parameters, value) => {
    const bytes = numberOf(value, SEGMENT);
    if (bytes === undefined) return REJECT;
    parameters.maxSendBytes = bytes;
    return null;
  },
  MaxBurstLength: smaller('maxBurstBytes', MAX_BURST_BYTES),
  FirstBurstLength: smaller('firstBurstBytes', FIRST_BURST_BYTES_MAX),
  MaxOutstandingR2T: smaller('maxOutstandingR2T', OUTSTANDING_R2T_MAX),
  MaxConnections: number({ min: 1, max: 65535 }, () => 1),
  DefaultTime2Wait: number({ min: 0, max: 3600 }, (said) => said),
  DefaultTime2Retain: number({ min: 0, max: 3600 }, () => 0),
  ErrorRecoveryLevel: number({ min: 0, max: 2 }, () => 0),
  DataPDUInOrder: choice(() => true),
  DataSequenceInOrder: choice(() => true),
  IFMarker: choice(() => false),
  OFMarker: choice(() => false),
  IFMarkInt: () => REJECT,
  OFMarkInt: () => REJECT,
  TaskReporting: () => 'RFC3720',
  iSCSIProtocolLevel: number({ min: 0, max: 31 }, (said) => Math.min(said, 1)),
  InitiatorAlias: ignored,
};

/** Keys that only a session's first connection may bring, and never once it is in full feature phase. */
const ANY_TIME = new Set(['MaxRecvDataSegmentLength', 'InitiatorAlias']);

/**
 * Answers offered keys and changes `parameters` accordingly; answers of the initiator to us are not expected, because
 * we offer nothing. `isLogin` false: in full feature phase only what may change there is taken.
 */
export function negotiate(
  parameters: IscsiParameters,
  offered: TextPairs,
  { isLogin }: { isLogin: boolean },
): [string, string][] {
  const answers: [string, string][] = [];
  for (const [key, value] of offered) {
    const rule = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    const answer =
      rule === undefined
        ? 'NotUnderstood'
        : value.length > VALUE_LENGTH_MAX || (!isLogin && !ANY_TIME.has(key))
          ? REJECT
          : rule(parameters, value);
    if (answer !== null) answers.push([key, answer]);
  }
  // 13.14: what may come unasked is part of a burst.
  parameters.firstBurstBytes = Math.min(parameters.firstBurstBytes, parameters.maxBurstBytes);
  return answers;
}
