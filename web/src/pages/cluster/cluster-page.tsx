/** The first page: is everything all right, and where is what. */
import { useNavigate } from '@tanstack/react-router';
import { lazy, Suspense, useDeferredValue, useState } from 'react';
import { useEstate } from '../../live/estate.ts';
import type { Choice } from '../../picture/choice.ts';
import { Picture } from '../../picture/picture.tsx';
import { TEXTS } from '../../texts/texts.ts';
import { useSearch } from '../../ui/address.ts';
import { Empty, Page, Waiting } from '../../ui/page.tsx';
import { Chosen } from './chosen.tsx';
import { useTies } from './chosen-ties.tsx';
import { Summary } from './summary.tsx';
import './cluster.css';

const HostTable = lazy(async () => ({ default: (await import('../hosts/host-table.tsx')).HostTable }));

/** See the module's comment. */
export function ClusterPage() {
  const estate = useDeferredValue(useEstate());
  const { search, setSearch } = useSearch();
  const navigate = useNavigate();
  const [chosen, setChosen] = useState<Choice | null>(null);
  const ties = useTies(chosen !== null);
  const isTable = search['as'] === 'table';
  const open = ({ host, vm }: Choice): void => {
    const name = estate.hosts.flatMap(({ vms }) => vms).find(({ id }) => id === vm)?.name;
    void navigate({ to: (name === undefined ? `/hosts/${host}` : `/vms/${name}`) as '/' });
  };
  return (
    <Page
      title={TEXTS.pages.cluster}
      isFilled
      actions={
        <fieldset className="switch">
          <legend className="hidden-text">{TEXTS.picture.label}</legend>
          {(['', 'table'] as const).map((as) => (
            <button key={as} type="button" aria-pressed={isTable === (as !== '')} onClick={() => setSearch({ as })}>
              {as === '' ? TEXTS.picture.asPicture : TEXTS.picture.asTable}
            </button>
          ))}
        </fieldset>
      }
    >
      <Summary estate={estate} />
      {isTable ? (
        <Suspense fallback={<Waiting />}>
          <HostTable />
        </Suspense>
      ) : estate.hosts.length === 0 ? (
        <Empty title={TEXTS.host.empty}>{TEXTS.host.emptyHint}</Empty>
      ) : (
        <div className="cluster">
          <Picture hosts={estate.hosts} chosen={chosen} ties={ties} onChoose={setChosen} onOpen={open} />
          <Chosen estate={estate} chosen={chosen} ties={ties} />
        </div>
      )}
    </Page>
  );
}
