/** Serial ports of QEMUs from this control node. */
import { portsOfSlot } from '../../core/model/ports.ts';
import type { SerialPorts } from '../backend/ports.ts';
import { openChardev } from './qemu-streams.ts';
import { openByAnyPath, type PathsToQemus } from './qmp-connector.ts';

/** Deadline of one connection attempt on one path, and of its handshake, in ms. */
const CONNECT_MS = 700;

/** Serial ports over TLS. */
export function createSerialPorts(to: PathsToQemus): SerialPorts {
  return {
    openSerial: (target) => {
      const advice = 'It serves one console at a time: another one may be open.';
      const port = portsOfSlot(target.slot).serial;
      // A serial port has room for one byte.
      const how = { target, port, what: 'the serial port', deadlineMs: CONNECT_MS, recordBytes: 1 };
      return openByAnyPath(to, { target, what: 'serial port', advice }, (path) => openChardev(to, { path, ...how }));
    },
  };
}
