/** The object that somebody chose in the picture: a host, or a VM (by its id) on it. */
export interface Choice {
  readonly host: string;
  readonly vm: string | null;
}
