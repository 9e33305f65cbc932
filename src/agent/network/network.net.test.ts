/** Overlay networks between two hosts (testing/network-scenario.ts). */

import { test } from 'node:test';
import { assertPassesInNamespaces } from '../testing/in-namespaces.ts';

test('overlay networks of two hosts, in a user namespace', () =>
  assertPassesInNamespaces('network-scenario.ts', { user: true }));
