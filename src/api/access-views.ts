/** What the API answers about access: tokens, sessions of browsers, and joining. */
import { Type } from 'typebox';
import { nullable, oneOf, strict, type View } from './common.ts';

const text = Type.String();
const time = Type.String({ description: 'RFC 3339 time in UTC with milliseconds' });

const apiTokenFields = {
  id: text,
  name: text,
  backup: Type.Boolean({ description: 'it may be handed backups of the cluster’s records' }),
  createdAt: time,
};
export const ApiTokenSchema = Type.Object(apiTokenFields, { ...strict, title: 'ApiToken' });
export type ApiToken = View<typeof ApiTokenSchema>;

export const ApiTokenCreatedSchema = Type.Object(
  { ...apiTokenFields, token: Type.String({ description: 'shown this once; only its SHA-256 is stored' }) },
  { ...strict, title: 'ApiTokenCreated' },
);
export type ApiTokenCreated = View<typeof ApiTokenCreatedSchema>;

export const SessionSchema = Type.Object(
  {
    id: text,
    name: Type.String({ description: 'name of the API token that it comes from' }),
    createdAt: time,
    expiresAt: time,
    address: Type.String({ description: 'address of the browser that began it' }),
    agent: Type.String({ description: 'how the browser identifies itself (User-Agent)' }),
    current: Type.Boolean({ description: 'it is the session of this request' }),
  },
  { ...strict, title: 'Session' },
);
export type Session = View<typeof SessionSchema>;

export const WhoSchema = Type.Object(
  {
    name: Type.String({ description: 'name of the API token, also of the one from which the session comes' }),
    kind: oneOf(['token', 'session']),
    session: nullable(Type.Object({ id: text, expiresAt: time }, strict)),
    version: Type.String({ description: 'version of Groundplane at the control node that answers' }),
    build: Type.String({
      description: 'changes with the server and its web interface; every answer has it as groundplane-build',
    }),
  },
  { ...strict, title: 'Who', description: 'who asks' },
);

export const SessionLinkSchema = Type.Object(
  {
    link: Type.String({ description: 'the secret; usable once' }),
    path: Type.String({ description: 'path of the web UI that begins a session by it; append it to the address' }),
    expiresAt: time,
  },
  { ...strict, title: 'SessionLink' },
);
export type SessionLink = View<typeof SessionLinkSchema>;

export const ConsoleTicketSchema = Type.Object(
  {
    ticket: Type.String({ description: 'usable once' }),
    path: Type.String({ description: 'path and query of the WebSocket' }),
    expiresAt: time,
  },
  { ...strict, title: 'ConsoleTicket' },
);
export type ConsoleTicket = View<typeof ConsoleTicketSchema>;

export const NODE_ROLES = ['host', 'storage', 'control'] as const;

export const JoinTokenSchema = Type.Object(
  {
    token: Type.String({ description: 'shown this once; usable once' }),
    role: oneOf(NODE_ROLES),
    also: Type.Optional(Type.Array(oneOf(NODE_ROLES))),
    name: text,
    expiresAt: time,
  },
  { ...strict, title: 'JoinToken' },
);
export type JoinToken = View<typeof JoinTokenSchema>;

export const JoinedSchema = Type.Object(
  {
    certPem: text,
    caPem: text,
    etcdEndpoints: Type.Array(Type.String()),
    controls: Type.Array(Type.Object({ name: text, address: text }, strict), { description: 'the control nodes' }),
    control: Type.Optional(
      Type.Object(
        {
          caKeyPem: Type.String({ description: 'the key of the authority: a secret of control nodes' }),
          adminTokenSha256: text,
          members: Type.Array(Type.Object({ name: text, address: text }, strict), {
            description: 'the members of etcd, the new one included',
          }),
        },
        { ...strict, description: 'for a control node that joins' },
      ),
    ),
  },
  { ...strict, title: 'Joined' },
);
export type Joined = View<typeof JoinedSchema>;
