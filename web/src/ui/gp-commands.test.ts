import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { gpCommand, shellWord, sizeWord } from './gp-commands.ts';

test('a shell reads every word as it was', () => {
  const words = ['web1', 'a b', "it's", '$HOME', '`id`', 'a\nb', '*', '"', '\\', ''];
  const read = execFileSync('/bin/sh', ['-c', `printf '%s\\0' ${words.map(shellWord).join(' ')}`], {
    encoding: 'utf8',
  });
  assert.deepEqual(read.split('\0').slice(0, -1), words);
});

test('options without a value are left out', () => {
  const options = { image: 'tiny', network: ['lan', 'san'], vcpus: 2, hard: true, label: [], to: null, append: '' };
  const command = 'gp vm create web1 --image tiny --network lan --network san --vcpus 2 --hard';
  assert.equal(gpCommand(['vm', 'create', 'web1'], options), command);
});

test('sizes are as short as they are exact', () => {
  assert.deepEqual([2 ** 31, 768 * 2 ** 20, 1_000].map(sizeWord), ['2G', '768M', '1000']);
});
