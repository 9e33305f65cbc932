/** What a story of the web interface is, and what several of them do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Locator, Page } from 'playwright-core';
import type { Stage } from './stage.ts';

/** Something that people do in a browser, whatever the cluster is. It leaves the cluster as it found it. */
export interface WebStory {
  readonly name: string;
  run(stage: Stage): Promise<void>;
}

/** Makes a test of each. `stage`: of the file that runs them. */
export function tellWeb(stories: readonly WebStory[], stage: () => Stage): void {
  for (const story of stories)
    test(story.name, async () => {
      try {
        await story.run(stage());
      } finally {
        await stage().closePages();
      }
    });
}

/** Waits until a VM is in a state, by its page. */
export async function vmBecomes(page: Page, name: string, state: string): Promise<void> {
  await page.getByRole('heading', { name, level: 1 }).waitFor();
  await page.locator('.page-head .mark', { hasText: state }).waitFor();
}

/** The host that the page of a VM shows. */
export async function hostOf(page: Page): Promise<string> {
  const host = await page.locator('.facts a[href^="/hosts/"]').textContent();
  assert.match(host ?? '', /^h\d+$/);
  return host ?? '';
}

/** Signs in the form within `place`. */
export async function sign(place: Page | Locator, owner: string, until: string): Promise<void> {
  await place.getByLabel('Who answers for it').fill(owner);
  await place.getByLabel('Why it is accepted').fill('a licence');
  await place.getByLabel('Until').fill(until);
}

/** The part of a page below a title. */
export function section(page: Page, title: string): Locator {
  return page.locator('section.section').filter({ has: page.getByRole('heading', { name: title, exact: true }) });
}

/** Counts the requests of a page by method and path. */
export function requestsOf(page: Page, method: string): readonly string[] {
  const paths: string[] = [];
  page.on('request', (request) => {
    if (request.method() === method) paths.push(new URL(request.url()).pathname);
  });
  return paths;
}
