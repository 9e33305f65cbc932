/**
 * Import boundaries: who may import whom, as one table. A folder under src/ that is not in the table may import nothing, so a new
 * folder is a decision. Test files and everything outside src/ may import anything, except that nothing goes round in circles.
 */

/** Folder -> what it may import besides itself. `node`: Node's builtin modules. A folder with a slash refines its parent. */
const FOLDERS = {
  base: { src: [], npm: [], node: false },
  // Bytes apart from decisions: target and device server decide about iSCSI and SCSI commands, sessions with QEMUs about QMP's events and
  // refusals; their layout is the wire's.
  core: { src: ['base', 'wire/scsi', 'wire/iscsi', 'wire/qmp'], npm: [], node: false },
  wire: { src: ['base'], npm: [], node: false },
  os: { src: ['base', 'wire'], npm: [], node: true },
  pki: { src: ['base', 'wire', 'os'], npm: ['@peculiar/x509', 'reflect-metadata'], node: true },
  // QMP goes over mutual TLS: who is at the other end is an identity of the cluster's authority.
  qmp: { src: ['base', 'wire', 'os', 'pki'], npm: [], node: true },
  rpc: { src: ['base', 'wire', 'os', 'pki'], npm: [], node: true },
  etcd: { src: ['base', 'core', 'wire', 'os'], npm: ['@grpc/grpc-js', '@bufbuild/protobuf'], node: true },
  // Of the core, the table of limits.
  images: { src: ['base', 'core', 'wire', 'os'], npm: [], node: true },
  api: { src: ['base', 'core'], npm: ['typebox'], node: false },
  client: { src: ['base', 'os', 'pki', 'api'], npm: ['openapi-fetch', 'undici'], node: true },
  agent: { src: ['base', 'core', 'wire', 'os', 'pki', 'qmp', 'rpc'], npm: [], node: true },
  storage: {
    src: ['base', 'core', 'wire', 'os', 'pki', 'qmp', 'rpc', 'etcd', 'images', 'iscsi'],
    npm: [],
    node: true,
  },
  // The SCSI target runs alone (`gp target serve`), and as the process of a storage node, which knows etcd and its identity there.
  iscsi: { src: ['base', 'core', 'wire', 'os', 'pki', 'rpc', 'etcd'], npm: [], node: true },
  control: {
    src: ['base', 'core', 'wire', 'os', 'pki', 'qmp', 'rpc', 'etcd', 'images', 'api'],
    npm: ['@fastify/static', 'ajv', 'aws4fetch', 'fastify', 'saxes', 'typebox', 'ws', '@types/ws'],
    node: true,
  },
  // The language of stories, which the simulator and the suites with real processes tell.
  stories: { src: ['base', 'core'], npm: [], node: false },
  // The simulated world runs the code of production: it may import whatever is decided there.
  sim: {
    src: ['base', 'core', 'wire', 'api', 'etcd', 'control', 'storage', 'agent', 'rpc', 'stories'],
    npm: [],
    node: true,
  },
  // What an installed machine needs: the roles' programs and configurations, the cluster's identities.
  install: {
    src: ['base', 'core', 'os', 'pki', 'rpc', 'etcd', 'client', 'control', 'storage', 'agent'],
    npm: ['typebox', 'yaml'],
    node: true,
  },
  lab: {
    src: [
      'base',
      'install',
      'core',
      'wire',
      'os',
      'pki',
      'qmp',
      'rpc',
      'etcd',
      'images',
      'api',
      'client',
      'agent',
      'storage',
      'control',
    ],
    npm: [],
    node: true,
  },
  // Reads other platforms' exports: no part of a cluster.
  audit: {
    src: ['base'],
    npm: ['csv-parse', 'saxes', 'yaml', 'yauzl', '@types/yauzl'],
    node: true,
  },
  cli: {
    // Of the core, the table of limits.
    src: ['base', 'core', 'os', 'client', 'images', 'install', 'lab', 'api', 'iscsi', 'audit'],
    npm: ['commander', 'picocolors', 'string-width', '@bomb.sh/tab', 'yaml'],
    node: true,
  },
};

/** Third-party modules that only part of a folder may touch. */
const NARROWER = [
  { npm: 'ajv', only: '^src/control/api/' },
  { npm: 'fastify', only: '^src/control/api/' },
  { npm: '@fastify/static', only: '^src/control/api/' },
  { npm: 'ws', only: '^src/(control/api|client)/' },
  { npm: 'csv-parse', only: '^src/audit/readers/formats/' },
  { npm: 'aws4fetch', only: '^src/control/backup/' },
  { npm: 'saxes', only: '^src/(audit/readers/formats|control/backup)/' },
  { npm: 'yauzl', only: '^src/audit/readers/formats/' },
  { npm: 'typebox', only: '^src/(control/api|api|install)/' },
];

/** Tests, and the `testing/` folders with what several tests share. */
const TEST = '([.]test[.]ts$|/testing/)';
const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
const npmPath = (names) => `node_modules/(${names.map(escaped).join('|')})(/|$)`;

const perFolder = Object.entries(FOLDERS).flatMap(([folder, may]) => {
  const from = { path: `^src/${folder}/`, pathNot: TEST };
  const rules = [
    {
      name: `${folder}-imports`,
      comment: `src/${folder} may import ${may.src.map((name) => `src/${name}`).join(', ') || 'nothing else'}`,
      severity: 'error',
      from,
      to: { path: '^(src|test|bench|scripts)/', pathNot: `^src/(${[folder, ...may.src].join('|')})/` },
    },
    {
      name: `${folder}-third-party`,
      comment: `src/${folder} may use ${may.npm.join(', ') || 'no third-party module'}`,
      severity: 'error',
      from,
      to: { path: 'node_modules/', ...(may.npm.length > 0 ? { pathNot: npmPath(may.npm) } : {}) },
    },
  ];
  if (!may.node) {
    const comment = `src/${folder} does no I/O: Node's modules stay outside`;
    rules.push({ name: `${folder}-no-node`, comment, severity: 'error', from, to: { dependencyTypes: ['core'] } });
  }
  return rules;
});

const narrower = NARROWER.map(({ npm, only }) => ({
  name: `only-there-${npm}`,
  comment: `${npm} is used only in ${only}`,
  severity: 'error',
  from: { path: '^src/', pathNot: [only, TEST] },
  to: { path: npmPath([npm]) },
}));

/** What the browser's code takes from the product: the generated client, texts of problems, records of changes, the table of limits. */
const WEB_SRC = [
  'client/generated/',
  'client/server-events[.]ts$',
  'api/(approved|problem)[.]ts$',
  'cli/maintenance/record-(csv|markdown)[.]ts$',
  'core/maintenance/approved-text[.]ts$',
  'core/model/limits[.]ts$',
  'base/',
];
const WEB_NPM = [
  '@mantine',
  '@noble',
  '@novnc',
  '@tanstack',
  '@types',
  '@xterm',
  'openapi-fetch',
  'react',
  'react-dom',
  'uplot',
  'vite',
];
const fromWeb = { path: '^web/src/', pathNot: TEST };
const web = [
  {
    name: 'web-imports',
    comment: 'the browser gets the generated client and what is pure, and nothing else of the product',
    severity: 'error',
    from: fromWeb,
    to: { path: '^(src|test|bench|scripts)/', pathNot: `^src/(${WEB_SRC.join('|')})` },
  },
  {
    name: 'web-third-party',
    comment: `web/ may use ${WEB_NPM.join(', ')}`,
    severity: 'error',
    from: fromWeb,
    to: { path: 'node_modules/', pathNot: npmPath(WEB_NPM) },
  },
  {
    name: 'web-no-node',
    comment: "a browser has none of Node's modules",
    severity: 'error',
    from: fromWeb,
    to: { dependencyTypes: ['core'] },
  },
];

module.exports = {
  forbidden: [
    ...perFolder,
    ...narrower,
    ...web,
    {
      name: 'undeclared-folder',
      comment: 'add the folder to the table in .dependency-cruiser.cjs, with a reason in the commit',
      severity: 'error',
      from: { path: '^src/', pathNot: [`^src/(${Object.keys(FOLDERS).join('|')})/`, TEST] },
      to: {},
    },
    { name: 'no-circles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'checkers-share-no-code',
      comment: 'src/core/check judges what others decide: it may know the types of records, and runs no line of theirs',
      severity: 'error',
      from: { path: '^src/core/check/', pathNot: TEST },
      to: { path: '^src/', pathNot: '^src/(core/check|base)/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'testing-is-for-tests',
      comment: 'what is only for tests must not be loaded in production',
      severity: 'error',
      from: { path: '^src/', pathNot: TEST },
      to: { path: '/testing/' },
    },
    {
      name: 'tests-are-leaves',
      comment: 'what two tests share is a module of its own',
      severity: 'error',
      from: {},
      to: { path: '[.]test[.]ts$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['types', 'import', 'node', 'default'] },
  },
};
