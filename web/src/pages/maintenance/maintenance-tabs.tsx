/** The two lists of maintenance. */
import { Link } from '@tanstack/react-router';
import { TEXTS } from '../../texts/texts.ts';

/** See the module's comment. */
export function MaintenanceTabs() {
  return (
    <nav className="tabs" aria-label={TEXTS.roll.lists}>
      <Link to="/maintenance" activeOptions={{ exact: true, includeSearch: false }}>
        {TEXTS.drain.list}
      </Link>
      <Link to={'/maintenance/rolls' as '/'} activeOptions={{ exact: true, includeSearch: false }}>
        {TEXTS.roll.list}
      </Link>
    </nav>
  );
}

/** Goes to the planning of many hosts. */
export function PlanLink() {
  return (
    <Link className="button-link" to={'/maintenance/plan' as '/'}>
      {TEXTS.roll.plan}
    </Link>
  );
}
