/** The tenants of a chaos round, each on a partition of its own and with a limit that its load runs into. */

export type ChaosTenant = { readonly name: string; readonly policy: object; readonly grant?: number };

const ROOMY = { requestsPerSecond: 500, burst: 2_000, maxInFlight: 12, maxQueued: 100_000, budgetDay: 500_000_000, budgetMonth: 1e12 };

export const TENANTS: readonly ChaosTenant[] = [
  { name: 'acme', policy: ROOMY },
  { name: 'globex', policy: { ...ROOMY, maxInFlight: 3, weight: 300 } },
  /** Two requests of its day's money, and a little more in each round: it ends on the rung that costs nothing. */
  { name: 'stark', policy: { ...ROOMY, budgetDay: 45_000 }, grant: 15_000 },
  /** Slow and short of room: its requests wait, and are refused at the door. */
  { name: 'wayne', policy: { ...ROOMY, requestsPerSecond: 12, burst: 4, maxQueued: 15 } },
];

export const DOCUMENTS = [
  {
    id: 'returns',
    title: 'Returns and refunds',
    content:
      '# Returns and refunds\n\nA parcel can be returned within thirty days of its delivery. The refund is paid to the card that was used for the order.',
  },
  {
    id: 'delivery',
    title: 'Delivery times',
    content:
      '# Delivery times\n\nA standard delivery takes three working days. An express delivery arrives on the next working day when it is ordered before noon.',
  },
];
export const QUESTIONS = [
  'Within how many days can a parcel be returned?',
  'How long does a standard delivery take?',
  'When does an express delivery arrive?',
  'To which card is the refund paid?',
  'What is the capital of France?',
];
