/** The sessions: who is logged in, with log-out. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { dataOf, http } from '../../api/client.ts';
import { sessionsQuery } from '../../api/queries.ts';
import { timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Problem } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';

const { settings: texts } = TEXTS;

/** See the module's comment. */
export function Sessions() {
  const cache = useQueryClient();
  const sessions = useQuery(sessionsQuery);
  const end = useMutation({
    mutationFn: (session: string) => dataOf(http.DELETE('/v1/sessions/{session}', { params: { path: { session } } })),
    onSuccess: () => cache.invalidateQueries({ queryKey: sessionsQuery.queryKey }),
  });
  return (
    <>
      {sessions.error === null ? null : <Problem error={sessions.error} />}
      <SmallTable
        heads={texts.sessionHeads}
        rows={(sessions.data ?? []).map(({ id, name, createdAt, expiresAt, address, agent, current }) => ({
          key: id,
          cells: [
            name,
            timeText(createdAt),
            timeText(expiresAt),
            address,
            agent,
            current ? (
              texts.thisOne
            ) : (
              <button key="end" type="button" className="quiet" onClick={() => end.mutate(id)}>
                {texts.end}
              </button>
            ),
          ],
        }))}
      />
    </>
  );
}
