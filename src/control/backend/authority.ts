/** The cluster's certificate authorities through the API: which issues, and their change (core/model/authorities.ts). */
import type { Authority } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { AUTHORITIES, type AuthoritiesRecord, type AuthorityEntry } from '../../core/model/authorities.ts';
import type { Admitted, Basis } from '../../core/request/basis.ts';
import { describeCertificate } from '../../pki/authority.ts';
import type { Call } from '../api/call.ts';
import { change } from './changes.ts';
import type { BackendContext } from './context.ts';

/** The most reasons that are shown. */
const SHOWN_MAX = 20;

/** The leader knows what a change waits for. */
export class AuthorityBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  show(): Authority {
    const { store, authority } = this.#context;
    const record = store.authorities.get(AUTHORITIES)?.value;
    const only = { id: authority.issuer, certPem: authority.certPem, crossPem: null };
    const entries = record?.authorities ?? [{ ...only, notAfter: describeCertificate(only.certPem).notAfter }];
    const newest = Array.from(store.certificates.values(), ({ value }) => value.issued.at(-1)?.authority);
    const waitsFor = this.#context.leading()?.controller.certificates.rotationWaitsFor() ?? [];
    return {
      phase: record?.phase ?? 'steady',
      authorities: entries.map(({ id, notAfter }) => ({
        id,
        issues: id === authority.issuer,
        endsAt: new Date(notAfter).toISOString(),
        machines: newest.filter((each) => each === id).length,
      })),
      waitsFor: waitsFor.slice(0, SHOWN_MAX),
      waitsForCount: waitsFor.length,
      caPem: authority.caPem,
    };
  }

  /**
   * Begins to change the authority. CodedError 'conflict' while it is being changed; a change whose next authority's
   * key is not at this control node begins anew.
   */
  async rotate({ principal }: Pick<Call, 'principal'>): Promise<Authority> {
    const { store, authority } = this.#context;
    this.#demandSteady(store.authorities.get(AUTHORITIES)?.value);
    const made = await authority.makeNext();
    await change(this.#context, (basis) => this.#begin(basis, { ...made, by: principal.name }));
    return this.show();
  }

  #begin(
    { records, now }: Basis,
    { present, next, by }: { readonly present: AuthorityEntry; readonly next: AuthorityEntry; readonly by: string },
  ): Admitted<null> {
    const before = records.authorities.get(AUTHORITIES)?.value;
    this.#demandSteady(before);
    const value: AuthoritiesRecord = {
      id: AUTHORITIES,
      version: (before?.version ?? 0) + 1,
      phase: 'trusting',
      issuing: present.id,
      authorities: [present, next],
      since: now,
      oldRuns: null,
    };
    const nobody = { vm: null, vmName: null, host: null, generation: null } as const;
    const message = `${by} began to change the certificate authority: every machine hears of the next one.`;
    return {
      changes: [{ kind: 'authority', id: AUTHORITIES, value }],
      events: [{ at: now, kind: 'authority', ...nobody, message }],
      result: null,
    };
  }

  #demandSteady(record: AuthoritiesRecord | undefined): void {
    if (record === undefined || record.phase === 'steady') return;
    const next = record.authorities.at(-1)?.id ?? '';
    if (record.phase === 'trusting' && this.#context.authority.keyOf(next) === null) return;
    throw new CodedError('conflict', `The authority of the cluster is being changed already (${record.phase}).`, {
      advice: 'Nothing was changed. `gp authority show` says why it waits.',
    });
  }
}
