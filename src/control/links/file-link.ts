/**
 * The leader's hand on files (core/ports/file-link.ts) over the storage services: a copy goes through this control
 * node.
 */
import type { FileLink } from '../../core/ports/file-link.ts';
import type { ArtifactFiles } from '../backend/ports.ts';

/** A copy's source begins to answer within this time, in ms. */
const OPEN_MS = 10_000;

/** Returns the port over these transfers; every call ends within its deadline. */
export function createFileLink(files: ArtifactFiles): FileLink {
  return {
    copy: ({ sha256, kind, sizeBytes, from, to }, { deadlineMs }) => {
      const over = new AbortController();
      const { signal } = over;
      const done = async (): Promise<void> => {
        const body = await files.openArtifact(from, sha256, { deadlineMs: OPEN_MS, signal });
        await files.putArtifact(to, { sha256, kind, sizeBytes, body }, { deadlineMs, signal });
      };
      return { done: done(), cancel: () => over.abort(new Error('The copy was ended: this node no longer leads.')) };
    },
    remove: (node, sha256, { term }, { deadlineMs }) => files.deleteArtifact(node, sha256, term, deadlineMs),
  };
}
