/** The control nodes as members of etcd (control/backend/ports.ts): a user of etcd and a member for each. */
import { CodedError } from '../../base/errors.ts';
import { commonName } from '../../base/identity.ts';
import { parseControlName } from '../../base/ids.ts';
import { PORTS } from '../../core/model/ports.ts';
import { allowControl, revokeUser } from '../../etcd/authorization.ts';
import type { EtcdClient, Member } from '../../etcd/client.ts';
import type { ControlAddress, EtcdMembers } from '../backend/ports.ts';

const CHANGE_MS = 10_000;

/** Returns the members of an etcd. */
export function etcdMembers(etcd: EtcdClient): EtcdMembers {
  const userOf = ({ name }: ControlAddress): string => commonName({ kind: 'control', name: parseControlName(name) });
  return {
    add: async (node) => {
      const members = await etcd.members();
      const known = members.find((member) => isOf(member, node));
      const learning = members.find((member) => member.isLearner && member !== known);
      if (learning !== undefined)
        throw new CodedError('conflict', `Another control node is joining (${addressOf(learning)}).`, {
          advice: 'Nothing was changed; the token is still good. Try again when it is a member.',
        });
      await allowControl(etcd, userOf(node));
      if (known !== undefined && !known.isLearner) await etcd.removeMember(known.id, { deadlineMs: CHANGE_MS });
      if (known === undefined || !known.isLearner) await etcd.addLearner(urlOf(node), { deadlineMs: CHANGE_MS });
      const others = members.filter((member) => !isOf(member, node));
      return [...others.map((member) => ({ name: member.name, address: addressOf(member) })), node];
    },
    remove: async (node) => {
      const known = (await etcd.members()).find((member) => isOf(member, node));
      if (known !== undefined) await etcd.removeMember(known.id, { deadlineMs: CHANGE_MS });
      await revokeUser(etcd, userOf(node));
    },
  };
}

const urlOf = ({ address }: ControlAddress): string => `https://${address}:${PORTS.etcdPeer}`;

/** Compares by address: a member that never ran has no name. */
function isOf({ peerUrls }: Member, node: ControlAddress): boolean {
  return peerUrls.includes(urlOf(node));
}

function addressOf({ peerUrls }: Member): string {
  return URL.canParse(peerUrls[0] ?? '') ? new URL(peerUrls[0] ?? '').hostname : '';
}
