/** Overlay networks between two hosts (testing/network-scenario.ts). */

import { test } from 'node:test';
import { runInNamespaces } from '../testing/in-namespaces.ts';

test('overlay networks of two hosts, in a user namespace', () =>
  runInNamespaces('network-scenario.ts', { user: true }));
