import { memoryStores } from '#streams/memory/store.ts';
import { storeContract } from './store.contract.ts';

storeContract(() => memoryStores());
