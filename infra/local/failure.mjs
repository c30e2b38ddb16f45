/** What a person can mend: printed as one line, without a stack. */
export class Failure extends Error {}

/** What was typed, or set, is wrong: nothing was begun. */
export class UsageFailure extends Failure {}
