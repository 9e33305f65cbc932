import { tellAll } from './tell-all.ts';

await tellAll(1);
