/** Parts of a page behind each other; which one is shown is in the address. */
import { type KeyboardEvent, type ReactNode, useId, useRef } from 'react';
import { useSearch } from './address.ts';

interface Tab {
  readonly key: string;
  readonly title: string;
  readonly content: () => ReactNode;
}

/** The first tab is shown unless the address names another. */
export function Tabs({ label, tabs }: { readonly label: string; readonly tabs: readonly Tab[] }) {
  const { search, setSearch } = useSearch();
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  const chosen = tabs.find(({ key }) => key === search['tab']) ?? tabs[0];
  const choose = (tab: Tab | undefined): void => {
    if (tab === undefined) return;
    setSearch({ tab: tab === tabs[0] ? '' : tab.key });
    list.current?.querySelector<HTMLElement>(`[data-tab="${tab.key}"]`)?.focus();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const at = chosen === undefined ? 0 : tabs.indexOf(chosen);
    if (event.key === 'ArrowRight') choose(tabs[(at + 1) % tabs.length]);
    else if (event.key === 'ArrowLeft') choose(tabs.at(at - 1));
    else return;
    event.preventDefault();
  };
  if (chosen === undefined) return null;
  return (
    <>
      <div className="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={onKeyDown} tabIndex={-1}>
        {tabs.map((tab) => (
          <button
            key={tab.key}
            type="button"
            role="tab"
            id={`${id}-${tab.key}`}
            data-tab={tab.key}
            aria-selected={tab === chosen}
            aria-controls={`${id}-panel`}
            tabIndex={tab === chosen ? 0 : -1}
            onClick={() => choose(tab)}
          >
            {tab.title}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${chosen.key}`}>
        {chosen.content()}
      </div>
    </>
  );
}
