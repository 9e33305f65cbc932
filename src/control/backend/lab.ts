/** Faults through the API: passed on to the lab that a one-machine cluster runs in, and refused everywhere else. */
import type { InjectFault, Lab } from '../../api/lab-views.ts';
import { CodedError } from '../../base/errors.ts';
import { arrayOf, openObject, text } from '../../rpc/parse.ts';
import type { BackendContext } from './context.ts';
import type { LabLink } from './ports.ts';

const word = text({ charsMax: 200 });
const words = arrayOf(word, { itemsMax: 100 });
const parseFaults = arrayOf(openObject({ verb: word, summary: word, on: words, takes: words }), { itemsMax: 100 });
const parseMachine = openObject({ name: word, kind: word, power: word, cutFrom: words });
const parseProcess = openObject({ state: word });

/** See the module's comment. */
export class LabBackend {
  readonly #context: Pick<BackendContext, 'lab'>;

  constructor(context: Pick<BackendContext, 'lab'>) {
    this.#context = context;
  }

  /** CodedError 'conflict' where there is no lab. */
  async get(): Promise<Lab> {
    const lab = this.#lab();
    const machines = arrayOf((value) => machineOf(value), { itemsMax: 1_000 });
    return {
      machines: [...machines(await lab.call({ verb: 'status' }), 'status')],
      faults: parseFaults(await lab.call({ verb: 'faults' }), 'faults').map(({ verb, summary, on, takes }) => ({
        ...{ verb, summary, on: [...on], takes: [...takes] },
      })),
    };
  }

  /** CodedError 'conflict', and those of the lab. */
  async inject(fault: InjectFault): Promise<Lab> {
    await this.#lab().call(fault);
    return this.get();
  }

  #lab(): LabLink {
    const { lab } = this.#context;
    if (lab !== null) return lab;
    throw new CodedError('conflict', 'This cluster runs on machines of its own, and injects no faults into them.', {
      advice: 'Nothing was changed. A cluster on one machine, for trying faults out, is started by "gp up".',
    });
  }
}

function machineOf(value: unknown): Lab['machines'][number] {
  const { name, kind, power, cutFrom } = parseMachine(value, 'machine');
  const { processes = {} } = value as { readonly processes?: Readonly<Record<string, unknown>> };
  return {
    ...{ name, kind, power, cutFrom: [...cutFrom] },
    processes: Object.entries(processes).map(([role, process]) => ({
      role,
      state: parseProcess(process, role).state,
    })),
  };
}
