-- Lists of jobs, newest first: a tenant's, or those in a state.
CREATE INDEX job_of_tenant ON job (tenant, created_at, job_id);

CREATE INDEX job_in_state ON job (state, created_at, job_id);

CREATE INDEX document_of_user ON document (user_id);

CREATE INDEX job_of_correlation ON job (correlation_id);
