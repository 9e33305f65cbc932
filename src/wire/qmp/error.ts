import { CodedError } from '../../base/errors.ts';
import type { QmpErrorReply } from './codec.ts';

/** QEMU carried the command out, or refused to, and says why not: the outcome is known. */
export class QmpError extends CodedError {
  /** GenericError, CommandNotFound, DeviceNotFound, DeviceNotActive, KVMMissingCap. */
  readonly errorClass: string;
  /** QEMU's text, for people: not to be matched by programs. */
  readonly description: string;

  constructor(command: string, { errorClass, description }: Pick<QmpErrorReply, 'errorClass' | 'description'>) {
    super(errorClass === 'DeviceNotFound' ? 'not-found' : 'failed', `QEMU refused ${command}: ${description}`);
    this.errorClass = errorClass;
    this.description = description;
  }
}
