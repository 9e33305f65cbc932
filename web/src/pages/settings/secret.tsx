/** A secret that is shown once. */
import { TEXTS } from '../../texts/texts.ts';

/** See the module's comment. */
export function Secret({ secret }: { readonly secret: string }) {
  return (
    <p className="secret" role="status">
      {TEXTS.settings.shownOnce} <code>{secret}</code>
    </p>
  );
}
