/**
 * Sockets of a server that read into memory the owner names. Node's `onread` does that, but only for sockets that one
 * makes oneself: the handle of an accepted socket moves into such a one. Without it every read allocates 64 KiB for the
 * garbage collector, and data is copied once more than needed.
 */
import { Socket } from 'node:net';
import { assert } from '../base/assert.ts';

/** The reader of the socket's input. */
export interface DirectReader {
  /** The buffer for the next input: at least one byte. Asked for again after each input. */
  room(): Uint8Array;
  /** This many bytes of the buffer were filled. */
  filled(bytes: number): void;
}

/**
 * A socket in place of `accepted`, which a server with `pauseOnConnect` has just handed over and which is over
 * afterwards.
 */
export function directSocket(accepted: Socket, reader: DirectReader): Socket {
  const handle: unknown = Reflect.get(accepted, '_handle');
  assert(typeof handle === 'object' && handle !== null, 'an accepted socket has a handle');
  Reflect.set(accepted, '_handle', null);
  const onread = {
    buffer: () => reader.room(),
    callback: (bytes: number): boolean => {
      reader.filled(bytes);
      return true;
    },
  };
  const options: object = { handle, onread };
  const socket = new Socket(options);
  accepted.destroy();
  return socket;
}
