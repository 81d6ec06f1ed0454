// The states of jobs, in the order in which a job has them.

export const STATES = ['waiting', 'delayed', 'active', 'completed', 'failed'] as const;
