import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { failOnce } from '../control/testing/api-cluster.ts';
import { jsonShown, shown } from './shown.ts';
import { testCluster } from './testing/test-cluster.ts';

/** Clears the screen, sets the title, moves up, reverses the text that follows, in C0, C1 and Unicode. */
const EVIL = '\u001b[2J\u001b]0;mine\u0007\u009b2A\r\u202eevil\u007f';
const ESCAPE = '\u001b';
/** The command's own output to a terminal: colours, and the progress line. */
const OWN = new RegExp(`${ESCAPE}\\[[0-9;]*m|\\r${ESCAPE}\\[K`, 'g');
// biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may come out
const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/;

test('every text of an object becomes printable, numbers and shape stay', () => {
  const object = { [EVIL]: [EVIL, 1, null, { a: `x${EVIL}` }], plain: 'web1', yes: true };
  assert.doesNotMatch(JSON.stringify(Object.entries(shown(object))), /\\u00|\\r/);
  assert.deepEqual(shown({ plain: 'web1', of: [1, null, true] }), { plain: 'web1', of: [1, null, true] });
  assert.doesNotMatch(jsonShown(object), STEERING);
  assert.deepEqual(JSON.parse(jsonShown(object)), object);
});

test('nothing that the API, a guest or an error says steers the terminal', async (t) => {
  const { gp, backend } = await testCluster(t);
  assert.equal((await gp(['vm', 'create', 'web1', '--image', 'tiny'])).code, 0);
  const vm = backend.vms.get('web1');
  const colour = `${ESCAPE}[31mred`;
  const labels = { tier: EVIL };
  const evil = { ...vm, labels, because: [EVIL, colour], host: EVIL, spec: { ...vm.spec, image: EVIL } };
  backend.vms.get = () => evil;
  backend.vms.list = async () => ({ items: [evil], next: null });
  backend.vms.log = async () => ({ vm: 'web1', host: 'h1', generation: 1, text: `a\r\nb${EVIL}\n`, truncated: false });
  const commands = ['vm list', 'vm show web1', 'vm log web1', 'events', 'task list', 'host list', 'vm list -o name'];
  for (const command of [...commands, 'vm show web1 -o json', 'vm show web1 -o yaml', 'vm events web1']) {
    const { out, err } = await gp(command.split(' '), { tty: true });
    assert.notEqual(out, '', command);
    assert.doesNotMatch(`${out}${err}`.replaceAll(OWN, ''), STEERING, command);
    assert(!out.includes(colour), `${command} lets a colour through`);
  }
  assert.equal((await gp(['vm', 'log', 'web1'])).out, `a\r\nb${EVIL}\n`, 'a file gets what the guest wrote');
  failOnce(backend.vms, 'list', new CodedError('conflict', `No ${EVIL}.`, { advice: EVIL }));
  const refused = await gp(['vm', 'list'], { tty: true });
  assert.match(refused.err, /^gp: No /);
  assert.doesNotMatch(refused.err, STEERING);
});
