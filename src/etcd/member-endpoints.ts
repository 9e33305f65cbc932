/** Where etcd's members are asked, as the cluster's control nodes come and go. */

/**
 * Returns the endpoints (`host:port`) to ask: the configured ones but for control nodes that have left, and `port` at
 * each that has joined since. `before` and `now` are the addresses of the control nodes by the configuration and by the
 * records. Endpoints at other addresses stay.
 */
export function memberEndpoints({
  configured,
  before,
  now,
  port,
}: {
  readonly configured: readonly string[];
  readonly before: readonly string[];
  readonly now: readonly string[];
  readonly port: number;
}): string[] {
  const left = new Set(before.filter((address) => !now.includes(address)));
  const stay = configured.filter((endpoint) => !left.has(endpoint.replace(/:\d+$/, '')));
  const joined = now.filter((address) => !before.includes(address)).map((address) => `${address}:${port}`);
  return [...stay, ...joined];
}
