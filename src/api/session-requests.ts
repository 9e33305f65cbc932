/** Requests about access: API tokens, sessions of browsers, and tickets for consoles. */
import { Type } from 'typebox';
import { Name, oneOf, strict, type View } from './common.ts';

export const CreateTokenSchema = Type.Object(
  {
    name: Name,
    backup: Type.Optional(
      Type.Boolean({
        description: 'it may be handed backups of the cluster’s records; only a token that may gives that',
      }),
    ),
  },
  { ...strict, title: 'CreateToken' },
);
export type CreateToken = View<typeof CreateTokenSchema>;

const BrowserSecret = (prefix: string, description: string) =>
  Type.String({ pattern: `^${prefix}_[A-Za-z0-9_-]{43}$`, description });
export const BeginSessionSchema = Type.Union(
  [
    Type.Object({ token: Type.String({ minLength: 1, maxLength: 256, description: 'an API token' }) }, strict),
    Type.Object({ link: BrowserSecret('gp_link', 'the secret of a one-time link, which is used up') }, strict),
  ],
  { title: 'BeginSession' },
);
export type BeginSession = View<typeof BeginSessionSchema>;

/** When somebody who opens a serial console only reads along. */
const READ_ONLY = ['always', 'if-held'] as const;

export const ConsoleQuerySchema = Type.Object(
  {
    takeOver: Type.Optional(
      Type.Boolean({ description: 'end the console of its present holder, who is told who took it' }),
    ),
    readOnly: Type.Optional(oneOf(READ_ONLY, { description: 'read along beside the holder: input is discarded' })),
  },
  strict,
);

const CONSOLES = ['serial', 'vnc'] as const;

export const ConsoleTicketRequestSchema = Type.Object(
  {
    console: Type.Optional(oneOf(CONSOLES, { description: 'default: serial' })),
    takeOver: Type.Optional(
      Type.Boolean({ description: 'end the serial console of its present holder, who is told who took it' }),
    ),
    readOnly: Type.Optional(
      oneOf(READ_ONLY, { description: 'read the serial console along beside the holder: input is discarded' }),
    ),
  },
  { ...strict, title: 'ConsoleTicketRequest' },
);
export type ConsoleTicketRequest = View<typeof ConsoleTicketRequestSchema>;

export const TicketQuerySchema = Type.Object(
  { ticket: BrowserSecret('gp_ticket', 'of POST /v1/vms/{vm}/console-tickets; good once') },
  strict,
);
