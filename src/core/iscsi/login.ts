/**
 * The log-in of one connection (RFC 7143, sections 6 and 12): who it is, whether it may, and what holds afterwards.
 * Guarantees: pure but for the chance and digests it is given; a bounded number of steps; no step towards full feature
 * phase before the initiator has proved what its policy asks for; secrets never leave this module.
 */

import type { ChapAlgorithm } from '../../wire/iscsi/chap.ts';
import { chooseAlgorithm, readBinary, sameBytes, writeBinary } from '../../wire/iscsi/chap.ts';
import { defaultParameters, type IscsiParameters, negotiate, RECEIVE_BYTES_MAX } from '../../wire/iscsi/negotiation.ts';
import { IscsiProtocolError, type LoginPdu } from '../../wire/iscsi/pdu.ts';
import { normalName, readText, TEXT_BYTES_MAX, writeText } from '../../wire/iscsi/text-keys.ts';

/** Status class and detail of a login response (11.13.5). */
const LOGIN_STATUS = {
  success: 0x0000,
  initiatorError: 0x0200,
  authenticationFailed: 0x0201,
  forbidden: 0x0202,
  notFound: 0x0203,
  unsupportedVersion: 0x0205,
  missingParameter: 0x0207,
  sessionType: 0x0209,
  noSuchSession: 0x020a,
  outOfResources: 0x0302,
} as const;

/** A name and a secret of CHAP. The secret is text: 12 to 64 bytes where both sides follow RFC 7143. */
export interface ChapAccount {
  readonly name: string;
  readonly secret: string;
}

/**
 * The account that an initiator proves. One account per admitted generation of a VM; `mutual`: how we prove ourselves
 * where asked.
 */
export type InitiatorPolicy =
  | { readonly kind: 'open' }
  | { readonly kind: 'chap'; readonly accounts: readonly ChapAccount[]; readonly mutual: ChapAccount | null };

/** The facts by which log-in is decided. */
export interface LoginPolicy {
  /** The targets that an initiator may see, by its normalised name. */
  targetsOf(initiator: string): readonly string[];
  /** The policy for an initiator's normalised name; null: it may not log in. */
  policyFor(initiator: string): InitiatorPolicy | null;
  /** This many unpredictable bytes. */
  random(bytes: number): Uint8Array;
  /** The digest of CHAP: of `id`, `secret`, `challenge` one after another. */
  chapDigest(algorithm: ChapAlgorithm, parts: { id: number; secret: string; challenge: Uint8Array }): Uint8Array;
}

/** The initiator that logged in, and the parameters that were agreed. */
export interface LoggedIn {
  readonly initiator: string;
  /** The CHAP name that was proved; null without CHAP. */
  readonly account: string | null;
  readonly isDiscovery: boolean;
  /** The target, as `targetsOf` has it; null in a discovery session. */
  readonly target: string | null;
  readonly parameters: IscsiParameters;
}

/** The answer to one login request. */
export interface LoginReply {
  readonly status: number;
  /** Byte 1 of the response. */
  readonly flags: number;
  readonly text: Uint8Array;
  /** Set with the last answer of a successful log-in. */
  readonly done: LoggedIn | null;
}

const STEPS_MAX = 32;
const SECURITY = 0;
const OPERATIONAL = 1;
const FULL_FEATURE = 3;

/** The log-in is refused; becomes the status of the answer. */
class Refused extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`log-in refused: 0x${status.toString(16).padStart(4, '0')}`);
    this.status = status;
  }
}

interface Challenge {
  readonly algorithm: ChapAlgorithm;
  readonly id: number;
  readonly challenge: Uint8Array;
}

/** One per connection, until full feature phase. */
export class LoginExchange {
  readonly #policy: LoginPolicy;
  readonly #parameters = defaultParameters();
  #initiator: string | null = null;
  #rule: InitiatorPolicy = { kind: 'open' };
  #isDiscovery = false;
  #target: string | null = null;
  #stage = SECURITY;
  #steps = 0;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #challenge: Challenge | null = null;
  #account: string | null = null;
  #isProved = false;
  #hasDeclared = false;

  constructor(policy: LoginPolicy) {
    this.#policy = policy;
  }

  /** The name that the initiator claims, as soon as it has claimed one. */
  get initiator(): string | null {
    return this.#initiator;
  }

  /** Takes one login request with its data. Throws IscsiProtocolError if there is nothing to answer. */
  step(pdu: LoginPdu, data: Uint8Array): LoginReply {
    this.#steps += 1;
    this.#heldBytes += data.length;
    if (this.#steps > STEPS_MAX) throw new IscsiProtocolError('a log-in without an end');
    if (this.#heldBytes > TEXT_BYTES_MAX) throw new IscsiProtocolError('a login text that is too long');
    this.#held.push(data);
    try {
      return pdu.continues ? this.#goOn(pdu) : this.#answer(pdu);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return { status: error.status, flags: pdu.currentStage << 2, text: new Uint8Array(0), done: null };
    }
  }

  #goOn(pdu: LoginPdu): LoginReply {
    if (pdu.transit) throw new Refused(LOGIN_STATUS.initiatorError);
    return { status: LOGIN_STATUS.success, flags: pdu.currentStage << 2, text: new Uint8Array(0), done: null };
  }

  #answer(pdu: LoginPdu): LoginReply {
    const pairs = readText(joined(this.#held, this.#heldBytes));
    this.#held = [];
    this.#heldBytes = 0;
    const answers: [string, string][] = [];
    if (this.#initiator === null) this.#introduce(pdu, { pairs, answers });
    for (const key of ['InitiatorName', 'TargetName', 'SessionType']) pairs.delete(key);
    this.#checkStage(pdu);
    if (pdu.currentStage === SECURITY) this.#security(pairs, answers);
    answers.push(...negotiate(this.#parameters, pairs, { isLogin: true }));
    if (pdu.currentStage === OPERATIONAL && !this.#hasDeclared) {
      this.#hasDeclared = true;
      answers.push(['MaxRecvDataSegmentLength', String(RECEIVE_BYTES_MAX)]);
    }
    const moves = pdu.transit && this.#isAllowedOn;
    if (moves) this.#stage = pdu.nextStage;
    const flags = (pdu.currentStage << 2) | (moves ? 0x80 | pdu.nextStage : 0);
    const done = moves && pdu.nextStage === FULL_FEATURE ? this.#result() : null;
    return { status: LOGIN_STATUS.success, flags, text: writeText(answers), done };
  }

  get #isAllowedOn(): boolean {
    return this.#rule.kind === 'open' || this.#isProved;
  }

  #result(): LoggedIn {
    const about = { isDiscovery: this.#isDiscovery, target: this.#target, parameters: this.#parameters };
    return { initiator: this.#initiator ?? '', account: this.#account, ...about };
  }

  /** The first request names both ends (6.3). */
  #introduce(
    pdu: LoginPdu,
    { pairs, answers }: { pairs: ReadonlyMap<string, string>; answers: [string, string][] },
  ): void {
    if (pdu.versionMin > 0) throw new Refused(LOGIN_STATUS.unsupportedVersion);
    // One connection per session: nothing can be added to an existing one.
    if (pdu.tsih !== 0) throw new Refused(LOGIN_STATUS.noSuchSession);
    const named = pairs.get('InitiatorName');
    if (named === undefined) throw new Refused(LOGIN_STATUS.missingParameter);
    const initiator = normalName(named);
    if (initiator === undefined) throw new Refused(LOGIN_STATUS.initiatorError);
    this.#isDiscovery = this.#isDiscoveryType(pairs.get('SessionType'));
    const rule = this.#policy.policyFor(initiator);
    if (rule === null) throw new Refused(LOGIN_STATUS.forbidden);
    if (!this.#isDiscovery) {
      const target = pairs.get('TargetName');
      if (target === undefined) throw new Refused(LOGIN_STATUS.missingParameter);
      const wanted = normalName(target);
      this.#target = this.#policy.targetsOf(initiator).find((name) => normalName(name) === wanted) ?? null;
      if (this.#target === null) throw new Refused(LOGIN_STATUS.notFound);
      answers.push(['TargetPortalGroupTag', '1']);
    }
    this.#rule = rule;
    this.#initiator = initiator;
    this.#stage = pdu.currentStage;
    // Without a security stage the initiator cannot prove anything.
    if (this.#stage === OPERATIONAL && rule.kind === 'chap') throw new Refused(LOGIN_STATUS.authenticationFailed);
  }

  #isDiscoveryType(type: string | undefined): boolean {
    if (type === undefined || type === 'Normal') return false;
    if (type === 'Discovery') return true;
    throw new Refused(LOGIN_STATUS.sessionType);
  }

  #checkStage(pdu: LoginPdu): void {
    const isStage = pdu.currentStage === SECURITY || pdu.currentStage === OPERATIONAL;
    const isNext = pdu.nextStage > pdu.currentStage && pdu.nextStage !== 2;
    if (!isStage || pdu.currentStage !== this.#stage || (pdu.transit && !isNext)) {
      throw new Refused(LOGIN_STATUS.initiatorError);
    }
  }

  /** Removes the keys of the security stage from `pairs` and answers them. */
  #security(pairs: Map<string, string>, answers: [string, string][]): void {
    const take = (key: string): string | undefined => {
      const value = pairs.get(key);
      pairs.delete(key);
      return value;
    };
    const methods = take('AuthMethod')?.split(',');
    const method = this.#rule.kind === 'open' ? 'None' : 'CHAP';
    if (methods !== undefined) {
      if (!methods.includes(method)) throw new Refused(LOGIN_STATUS.authenticationFailed);
      answers.push(['AuthMethod', method]);
    }
    const algorithms = take('CHAP_A');
    const proof = { name: take('CHAP_N'), response: take('CHAP_R'), id: take('CHAP_I'), challenge: take('CHAP_C') };
    if (this.#rule.kind === 'open') return;
    if (algorithms !== undefined) this.#challengeBy(algorithms, answers);
    else if (proof.name !== undefined || proof.response !== undefined) this.#prove(this.#rule, { ...proof, answers });
  }

  #challengeBy(algorithms: string, answers: [string, string][]): void {
    const algorithm = chooseAlgorithm(algorithms);
    if (algorithm === undefined || this.#challenge !== null) throw new Refused(LOGIN_STATUS.authenticationFailed);
    const [id = 0] = this.#policy.random(1);
    const challenge = this.#policy.random(algorithm === 5 ? 16 : 32);
    this.#challenge = { algorithm, id, challenge };
    answers.push(['CHAP_A', String(algorithm)], ['CHAP_I', String(id)], ['CHAP_C', writeBinary(challenge)]);
  }

  #prove(
    rule: Extract<InitiatorPolicy, { kind: 'chap' }>,
    said: {
      readonly name: string | undefined;
      readonly response: string | undefined;
      readonly id: string | undefined;
      readonly challenge: string | undefined;
      readonly answers: [string, string][];
    },
  ): void {
    const asked = this.#challenge;
    const response = readBinary(said.response ?? '');
    if (asked === null || response === undefined || this.#isProved) this.#fail();
    const account = rule.accounts.find(({ name }) => name === said.name);
    const right = this.#policy.chapDigest(asked.algorithm, { ...asked, secret: account?.secret ?? '' });
    if (!sameBytes(right, response) || account === undefined) this.#fail();
    if (said.id !== undefined || said.challenge !== undefined) this.#proveOurselves(rule, { ...said, asked });
    this.#isProved = true;
    this.#account = account.name;
  }

  /** The initiator wants to know who we are. Its own challenge sent back would make us answer for it (9.2.1). */
  #proveOurselves(
    rule: Extract<InitiatorPolicy, { kind: 'chap' }>,
    said: { id: string | undefined; challenge: string | undefined; asked: Challenge; answers: [string, string][] },
  ): void {
    const challenge = readBinary(said.challenge ?? '');
    const id = Number(said.id);
    const isId = /^(0[xX])?[0-9a-fA-F]{1,3}$/.test(said.id ?? '') && id >= 0 && id <= 255;
    if (rule.mutual === null || challenge === undefined || !isId) this.#fail();
    if (sameBytes(challenge, said.asked.challenge)) this.#fail();
    const { name, secret } = rule.mutual;
    const response = this.#policy.chapDigest(said.asked.algorithm, { id, secret, challenge });
    said.answers.push(['CHAP_N', name], ['CHAP_R', writeBinary(response)]);
  }

  #fail(): never {
    throw new Refused(LOGIN_STATUS.authenticationFailed);
  }
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const [first] = parts;
  if (parts.length === 1 && first !== undefined) return first;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
