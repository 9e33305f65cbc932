/** Ties and debts through the API: what binds VMs to hosts, who signed for it, and what it costs now. */
import type { PageQuery } from '../../api/requests.ts';
import type { Tie } from '../../api/ties.ts';
import type { VmId } from '../../base/ids.ts';
import { KeyOrder } from '../../base/key-order.ts';
import type { UnsignedRefusal } from '../../core/loop/maintenance/evacuability-watch.ts';
import { isDue, type Signature } from '../../core/model/debt.ts';
import { debtsOf, type Owed, renewDebt } from '../../core/request/debts.ts';
import { CpuModels, tieOfCluster, tiesOfVm } from '../../core/request/effect.ts';
import { inTurns, sortedInTurns } from '../../os/turns.ts';
import type { Call } from '../api/call.ts';
import { type Page, pageOf } from '../api/pages.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { basisOf, change } from './changes.ts';
import type { BackendContext } from './context.ts';
import { verdictOfHost } from './evacuability-views.ts';

/** A tie or debt; or a host that is refused without either. */
interface Found {
  readonly owed: Owed | null;
  readonly kind: Tie['kind'];
  readonly about: Tie['about'];
  readonly what: string;
  /** The VMs that it is about. */
  readonly vms: readonly VmId[];
  /** For a host that is refused: the question, and since when it is refused. */
  readonly refused?: Pick<UnsignedRefusal, 'host' | 'question' | 'since'>;
}

/** See the module's comment. */
export class TiesBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** Lists debts and ties by what they are about. */
  async list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Tie>> {
    const found = new Map<string, Found>();
    await inTurns((await tiesOf(this.#context)).entries(), ([number, tie]) => {
      found.set(`${tie.about.kind}/${tie.about.name}/${tie.kind}/${tie.owed?.debt.id ?? number}`, tie);
    });
    const view = (place: string): Tie | null => {
      const tie = found.get(place);
      return tie === undefined ? null : this.#view(tie);
    };
    return pageOf({ order: new KeyOrder(await sortedInTurns([...found.keys()])), view }, query, signal);
  }

  /** Signs a debt anew. CodedError 'not-found', 'bad-input'. */
  async renew(id: string, signed: Signature): Promise<Tie> {
    await change(this.#context, (basis) => renewDebt(basis, { id, vms: owingVms(this.#context), signature: signed }));
    const { records } = basisOf(this.#context);
    const owed = [...debtsOf(records, owingVms(this.#context))].find(({ debt }) => debt.id === id);
    if (owed === undefined) throw new Error(`The debt ${id} that was renewed is gone.`);
    return this.#view(ofDebt(owed));
  }

  #view({ owed, kind, about, what, vms, refused }: Found): Tie {
    const debt = owed?.debt ?? null;
    const time = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());
    return {
      ...{ debt: debt?.id ?? null, kind, about, what },
      ...{ owner: debt?.owner ?? null, reason: debt?.reason ?? null, by: debt?.by ?? null },
      ...{ since: time(debt?.since ?? refused?.since), until: time(debt?.until) },
      isDue: debt !== null && isDue(debt, this.#context.clock.wallMs()),
      costs: this.#costs(refused === undefined ? vms : [], debt?.broke ?? (refused === undefined ? [] : [refused])),
    };
  }

  /** The hosts that are refused now because of these VMs, or that the change broke and that are still refused. */
  #costs(vms: readonly VmId[], broke: Owed['debt']['broke']): Tie['costs'] {
    const { store } = this.#context;
    const about = new Set(vms);
    const inTheWay = new Set<VmId>();
    const refused = (question: 'drain' | 'loss'): string[] =>
      [...store.hosts.values()].flatMap(({ value: { name } }) => {
        const answer = verdictOfHost(this.#context, name)?.[question];
        if (answer?.kind !== 'cannot') return [];
        const own = answer.vms.filter((vm) => about.has(vm));
        const isBroken = broke.some((one) => one.host === name && one.question === question);
        for (const vm of isBroken ? answer.vms : own) inTheWay.add(vm);
        return own.length > 0 || isBroken ? [name] : [];
      });
    const [undrainable, unlosable] = [refused('drain'), refused('loss')];
    return { undrainable, unlosable, vms: [...inTheWay].map((vm) => store.vms.get(vm)?.value.name ?? vm) };
  }
}

/** All debts, and the ties that nobody signed for; in turns, because any VM may have some. */
export async function tiesOf(context: BackendContext): Promise<readonly Found[]> {
  const found: Found[] = [];
  await inTurns(tiesIn(context), (tie) => {
    if (tie !== null) found.push(tie);
  });
  return found;
}

/** Walks over the VMs that may have ties or debts, then over guest clusters and hosts; null: a VM has none. */
function* tiesIn(context: BackendContext): Generator<Found | null, void> {
  const { records } = basisOf(context);
  const models = new CpuModels(records);
  const owing = owingVms(context);
  for (const id of owing) {
    const vm = records.vms.get(id)?.value;
    yield null;
    for (const debt of vm?.debts ?? []) if (vm !== undefined) yield ofDebt({ debt, about: { kind: 'vm', vm } });
  }
  for (const id of boundVms(context, owing)) {
    const vm = records.vms.get(id)?.value;
    yield null;
    if (vm === undefined) continue;
    for (const { kind, what } of tiesOfVm(models, vm))
      if (vm.debts?.some((debt) => debt.kind === kind) !== true)
        yield { owed: null, kind, about: { kind: 'vm', name: vm.name }, what, vms: [id] };
  }
  for (const { value: cluster } of records.guestClusters.values()) {
    for (const debt of cluster.debts ?? []) yield ofDebt({ debt, about: { kind: 'guest-cluster', cluster } });
    const tie = tieOfCluster(records, cluster);
    if (tie === null || cluster.debts?.some(({ kind }) => kind === tie.kind) === true) continue;
    const about = { kind: 'guest-cluster', name: cluster.name } as const;
    yield { owed: null, ...tie, about, vms: cluster.members };
  }
  for (const refused of context.leading()?.controller.evacuability.standing ?? []) {
    const { host, question, vms, because } = refused;
    const what = `${host} cannot be ${question === 'drain' ? 'drained' : 'lost'}: ${because.join('; ')}`;
    yield { owed: null, kind: 'room', about: { kind: 'host', name: host }, what, vms, refused };
  }
}

function ofDebt(owed: Owed): Found {
  const { debt, about } = owed;
  return about.kind === 'vm'
    ? { owed, ...debt, about: { kind: 'vm', name: about.vm.name }, vms: [about.vm.id] }
    : { owed, ...debt, about: { kind: 'guest-cluster', name: about.cluster.name }, vms: about.cluster.members };
}

/** The VMs with debts: the leader keeps them; others look at every VM. */
export function owingVms(context: BackendContext): ReadonlySet<VmId> {
  const all = (): ReadonlySet<VmId> => new Set(snapshotOf(context.store).vms.keys() as Iterable<VmId>);
  return context.leading()?.controller.estate.owing() ?? all();
}

/** The VMs that may be tied to hosts; see `owingVms`. */
function boundVms(context: BackendContext, owing: ReadonlySet<VmId>): ReadonlySet<VmId> {
  return context.leading()?.controller.estate.bound() ?? owing;
}
