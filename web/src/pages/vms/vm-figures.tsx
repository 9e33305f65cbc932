/** A VM's use of resources, as plots: read every two seconds while somebody looks, and kept by this page only. */
import { useQuery } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { vmFiguresQuery } from '../../api/queries.ts';
import type { VmFigures as Figures, VmDetail } from '../../api/types.ts';
import { bytesText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Problem, Section, Waiting } from '../../ui/page.tsx';
import { Plot } from '../../ui/plot.tsx';
import { type Sample, withSample } from './figures.ts';

const { figures: texts } = TEXTS;
const rateText = (bytes: number): string => texts.perSecond(bytesText(Math.round(bytes)));

type Counted = Exclude<keyof Sample, 'at'>;

interface Shown {
  readonly title: string;
  readonly lines: readonly { readonly of: Counted; readonly tone: string }[];
  readonly text: (value: number) => string;
  readonly atLeast: number;
}

/** See the module's comment. */
export function VmFigures({ vm }: { readonly vm: VmDetail }) {
  const { data, error } = useQuery(vmFiguresQuery(vm.name));
  const samples = useSamples(data);
  if (data === undefined) return error === null ? <Waiting /> : <Problem error={error} />;
  const { vcpus, memoryBytes } = vm.spec;
  const shown: readonly Shown[] = [
    {
      ...{ title: texts.processor(vcpus), text: texts.processors, atLeast: vcpus },
      lines: [{ of: 'processors', tone: 'busy' }],
    },
    {
      ...{ title: texts.memory(bytesText(memoryBytes)), text: bytesText, atLeast: memoryBytes },
      lines: [{ of: 'residentBytes', tone: 'odd' }],
    },
    {
      ...{ title: texts.disk, text: rateText, atLeast: 4_096 },
      lines: [
        { of: 'readBytes', tone: 'busy' },
        { of: 'writtenBytes', tone: 'warn' },
      ],
    },
    {
      ...{ title: texts.network, text: rateText, atLeast: 4_096 },
      lines: [
        { of: 'receivedBytes', tone: 'busy' },
        { of: 'sentBytes', tone: 'warn' },
      ],
    },
  ];
  return (
    <>
      {error === null ? null : <Problem error={error} />}
      <p className="hint">{texts.sources}</p>
      {data.machineMissing === null ? null : <p className="problem">{texts.noMachine(data.machineMissing)}</p>}
      {data.disksMissing === null ? null : <p className="problem">{texts.noDisks(data.disksMissing)}</p>}
      <div className="columns">
        {shown.map((each) => (
          <One key={each.title} shown={each} samples={samples} />
        ))}
      </div>
    </>
  );
}

function One({ shown: { title, lines, text, atLeast }, samples }: { shown: Shown; samples: readonly Sample[] }) {
  const last = samples.at(-1);
  const said = (of: Counted): string => {
    const value = last?.[of] ?? null;
    return `${texts.lines[of]}: ${value === null ? TEXTS.unknown : text(value)}`;
  };
  return (
    <Section title={title}>
      <p className="plot-key">
        {lines.map(({ of, tone }) => (
          <span key={of}>
            <span className={`line tone-${tone}`} aria-hidden="true" />
            {said(of)}
          </span>
        ))}
      </p>
      <Plot
        label={`${title}. ${lines.map(({ of }) => said(of)).join(', ')}`}
        times={samples.map(({ at }) => at)}
        series={lines.map(({ of, tone }) => ({
          ...{ name: of, tone },
          values: samples.map((sample) => sample[of]),
        }))}
        {...{ text, atLeast }}
      />
    </Section>
  );
}

/** Rates between the answers that have come. */
function useSamples(now: Figures | undefined): readonly Sample[] {
  const [samples, setSamples] = useState<readonly Sample[]>([]);
  const before = useRef<Figures | null>(null);
  useEffect(() => {
    if (now === undefined) return;
    const last = before.current;
    before.current = now;
    setSamples((kept) => withSample(kept, last, now));
  }, [now]);
  return samples;
}
