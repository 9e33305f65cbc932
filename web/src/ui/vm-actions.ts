/** The actions on VMs that every page offers. */
import { useMutation } from '@tanstack/react-query';
import { dataOf, http } from '../api/client.ts';
import { TEXTS } from '../texts/texts.ts';
import type { Accept } from './acceptance.ts';
import { tell } from './notices.tsx';

/** An action with what it needs to know. */
export type VmAction =
  | { readonly verb: 'start'; readonly accept?: Accept }
  | { readonly verb: 'reset' | 'suspend' | 'resume' | 'delete' }
  | { readonly verb: 'stop'; readonly mode: 'acpi' | 'hard' }
  | { readonly verb: 'migrate'; readonly to: string | null };

/** Begins an action; a refusal is shown in the API's words, unless `meta` says that it is shown elsewhere. */
export function useVmAction(meta: { readonly shownInPlace?: true; readonly signedInPlace?: true } = {}) {
  return useMutation({
    meta,
    mutationFn: ({ vm, action }: { readonly vm: string; readonly action: VmAction }) => begin(vm, action),
    onSuccess: (_task, { vm, action }) => tell(TEXTS.actionBegan(TEXTS.vmActions[action.verb], vm)),
  });
}

function begin(vm: string, action: VmAction) {
  const params = { path: { vm } };
  switch (action.verb) {
    case 'start':
      return dataOf(
        http.POST('/v1/vms/{vm}/start', { params, body: action.accept === undefined ? {} : { accept: action.accept } }),
      );
    case 'reset':
      return dataOf(http.POST('/v1/vms/{vm}/reset', { params }));
    case 'suspend':
      return dataOf(http.POST('/v1/vms/{vm}/suspend', { params }));
    case 'resume':
      return dataOf(http.POST('/v1/vms/{vm}/resume', { params }));
    case 'stop':
      return dataOf(http.POST('/v1/vms/{vm}/stop', { params, body: { mode: action.mode } }));
    case 'migrate':
      return dataOf(http.POST('/v1/vms/{vm}/migrate', { params, body: action.to === null ? {} : { to: action.to } }));
    case 'delete':
      return dataOf(http.DELETE('/v1/vms/{vm}', { params }));
  }
}
