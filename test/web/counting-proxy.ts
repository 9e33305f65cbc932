/** A proxy between a browser and a server that counts the open requests. Plain HTTP, on loopback. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';

/** See the module's comment. Ends with `close`, and all of its connections with it. */
export class CountingProxy {
  readonly #server: Server;
  readonly #open: string[] = [];
  readonly #target: URL;

  private constructor(target: URL) {
    this.#target = target;
    this.#server = createServer((asked, answer) => void this.#pass(asked, answer));
  }

  /** Begins to pass requests on to `target`. */
  static async start(target: URL): Promise<CountingProxy> {
    const proxy = new CountingProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  /** The proxy's own address, without a path. */
  get origin(): string {
    return `${this.#target.protocol}//${this.#target.hostname}:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Returns how many requests of a path are open now. */
  openOf(path: string): number {
    return this.#open.filter((one) => one === path).length;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #pass(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const path = new URL(asked.url ?? '/', this.#target).pathname;
    this.#open.push(path);
    answer.once('close', () => this.#open.splice(this.#open.indexOf(path), 1));
    const { hostname, port } = this.#target;
    const onward = request({
      hostname,
      port,
      path: asked.url,
      method: asked.method,
      headers: asked.headers,
      agent: false,
    });
    answer.once('close', () => onward.destroy());
    onward.on('response', (response) => {
      answer.writeHead(response.statusCode ?? 502, response.headers);
      pipeline(response, answer).catch(() => answer.destroy());
    });
    onward.on('error', () => answer.destroy());
    await pipeline(asked, onward).catch(() => onward.destroy());
  }
}
