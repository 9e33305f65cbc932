/** The shared worker: one event stream for all pages of the browser, however many tabs are open. */
import type { FromWorker, ToWorker } from './protocol.ts';
import { LiveStream } from './stream.ts';

declare const self: { onconnect: ((event: MessageEvent) => void) | null };

const ports = new Set<MessagePort>();
const stream = new LiveStream({
  fetch: (path, init) => fetch(path, { ...init, credentials: 'same-origin' }),
  tell: (message: FromWorker) => {
    for (const port of ports) port.postMessage(message);
  },
});

self.onconnect = ({ ports: [port] }) => {
  if (port === undefined) return;
  ports.add(port);
  port.onmessage = ({ data }: MessageEvent<ToWorker>) => {
    if (data.type === 'leave') ports.delete(port);
    else stream.retry();
  };
  port.postMessage(stream.state);
};
void stream.run();
