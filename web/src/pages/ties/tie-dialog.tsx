/** One tie with all its details; a debt is signed anew here. */
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { clusterQuery, tiesQuery } from '../../api/queries.ts';
import type { Tie } from '../../api/types.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { SigningFields } from '../../ui/accept-form.tsx';
import { acceptOf, UNSIGNED } from '../../ui/acceptance.ts';
import { GpCommand } from '../../ui/command.tsx';
import { Dialog, DialogFrame } from '../../ui/dialog.tsx';
import { tell } from '../../ui/notices.tsx';
import { Facts, Problem } from '../../ui/page.tsx';
import { pageOf, renewCommand } from './ties-table.ts';

const { ties: texts } = TEXTS;

interface DialogProps {
  readonly tie: Tie;
  readonly onClose: () => void;
}

/** See the module's comment. */
export function TieDialog({ tie, onClose }: DialogProps) {
  if (tie.debt !== null) return <Renew key={tie.debt} debt={tie.debt} {...{ tie, onClose }} />;
  return (
    <DialogFrame title={texts.unsignedTitle(tie.about.name)} onClose={onClose}>
      <h2 className="dialog-title">{texts.unsignedTitle(tie.about.name)}</h2>
      <TieFacts tie={tie} />
      <p className="hint">{texts.unsignedHint}</p>
    </DialogFrame>
  );
}

function Renew({ debt, tie, onClose }: DialogProps & { readonly debt: string }) {
  const [signing, setSigning] = useState({ ...UNSIGNED, owner: tie.owner ?? '', reason: tie.reason ?? '' });
  const accept = acceptOf(signing);
  const cache = useQueryClient();
  const renew = useMutation({
    meta: { shownInPlace: true },
    mutationFn: (body: NonNullable<typeof accept>) =>
      dataOf(http.POST('/v1/ties/{debt}/renew', { params: { path: { debt } }, body })),
    onSuccess: () => {
      tell(texts.renewed(tie.about.name));
      for (const { queryKey } of [tiesQuery, clusterQuery]) void cache.invalidateQueries({ queryKey });
      onClose();
    },
  });
  return (
    <Dialog
      title={texts.renewTitle(tie.about.name)}
      action={texts.renew}
      isDisabled={accept === null || renew.isPending}
      onClose={onClose}
      onAct={() => {
        if (accept !== null) renew.mutate(accept);
      }}
    >
      <TieFacts tie={tie} />
      <SigningFields signing={signing} onChange={setSigning} />
      {renew.error === null ? null : <Problem error={renew.error} />}
      <GpCommand command={renewCommand(debt, signing)} />
    </Dialog>
  );
}

function TieFacts({ tie: { about, what, owner, reason, by, since, until, costs } }: { readonly tie: Tie }) {
  const { columns } = texts;
  const signed =
    owner === null
      ? []
      : ([
          [columns.owner, owner],
          [columns.reason, reason],
          [texts.by, by],
        ] as const);
  return (
    <Facts
      facts={[
        [columns.about, <Named key="about" names={[about.name]} pathOf={() => pageOf(about)} />],
        [columns.what, what],
        [columns.drain, <Named key="drain" names={costs.undrainable} pathOf={(name) => `/hosts/${name}`} />],
        [columns.loss, <Named key="loss" names={costs.unlosable} pathOf={(name) => `/hosts/${name}`} />],
        [columns.vms, <Named key="vms" names={costs.vms} pathOf={(name) => `/vms/${name}`} />],
        ...signed,
        ...(since === null ? [] : [[columns.since, timeText(since)] as const]),
        ...(until === null ? [] : [[columns.until, timeText(until)] as const]),
      ]}
    />
  );
}

interface NamedProps {
  readonly names: readonly string[];
  readonly pathOf: (name: string) => string;
}

/** Names, each leading to its page. */
function Named({ names, pathOf }: NamedProps) {
  if (names.length === 0) return TEXTS.none;
  return names.map((name, at) => (
    <span key={name}>
      {at === 0 ? '' : ', '}
      <Link to={pathOf(name) as '/'}>{name}</Link>
    </span>
  ));
}
