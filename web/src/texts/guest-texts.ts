/** The texts of what a guest says of itself; a part of the catalogue in texts.ts. */

export const GUEST_TEXTS = {
  title: 'What its guest says',
  agents: {
    refuses: 'its agent refuses to say',
    silent: 'no agent answers',
    'no-port': 'its machine has no port for an agent',
    'not-running': 'it does not run',
  },
  system: 'System',
  kernel: 'Kernel',
  hostname: 'Host name',
  asked: 'Asked',
  interfaceHeads: ['Interface', 'MAC', 'Addresses'],
} as const;
