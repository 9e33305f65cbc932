import type { GuestAgentLink } from '../guest-agent-link.ts';

const silent = { kind: 'silent', why: 'No guest here has an agent.' } as const;

/** Guests without agents. */
export const SILENT_GUESTS: GuestAgentLink = {
  facts: async () => silent,
  begin: async () => silent,
  outcome: async () => silent,
};
