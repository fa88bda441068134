//! A tenant's certificate: found, asked for, kept, put into its sites.

use std::sync::Arc;

use tenantry_journal::event::site::Signer;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::name::{Domain, Slug};
use tenantry_journal::time::Timestamp;

use super::{Sites, details, names};
use crate::clock;
use crate::domain::certificate::{Asked, Obtained, is_current, renewed_at};
use crate::domain::command::{Command, Submission};
use crate::domain::setting;
use crate::drivers::acme::{self, AcmeError, Signed};
use crate::drivers::certificates::{Kept, self_signed};
use crate::drivers::nginx::Shared;
use crate::engine::SubmitError;
use crate::error::chain;

/// What is known of a tenant while its certificate is seen to.
struct Case {
    tenant: TenantId,
    slug: Slug,
    names: Vec<Domain>,
    signer: Signer,
    asked: Asked,
    cause: Option<Seq>,
}

fn signer_of(kept: &Kept) -> Signer {
    if kept.facts.is_self_signed { Signer::SelfSigned } else { Signer::Acme }
}

impl Sites {
    /// Sees to it that a tenant's sites are served by a certificate that is good for their
    /// names and not due for renewal.
    ///
    /// # Errors
    /// A sentence: why they are not.
    pub async fn secure(
        self: &Arc<Self>,
        tenant: TenantId,
        asked: Asked,
        cause: Option<Seq>,
    ) -> Result<String, String> {
        let turn = self.turn(tenant);
        let _turn = turn.lock().await;
        let case = {
            let world = self.handle.world();
            let (_, details) = details(&world, tenant).ok_or("the tenant is gone")?;
            let names = names(details);
            let signer = self.signer(&names).ok_or("certificates are off in the configuration")?;
            Case { tenant, slug: details.slug.clone(), names, signer, asked, cause }
        };
        if let Some(until) = self.has_current(&case).await? {
            return Ok(format!("the certificate is good until {until}"));
        }
        self.submit(&case, Command::RequestCertificate { tenant_id: tenant, signer: case.signer, asked })
            .await?;
        let signed = match self.sign(&case).await {
            Ok(signed) => signed,
            Err(error) => return self.failed(&case, error).await,
        };
        let kept = self.certificates.keep(&case.slug, &signed.chain, &signed.key);
        let kept = match kept {
            Ok(kept) => kept,
            Err(error) => {
                let error = AcmeError { detail: chain(&error), retry_after: None };
                return self.failed(&case, error).await;
            }
        };
        if details(&self.handle.world(), tenant).is_none() {
            // Deleted meanwhile: no key of it may stay.
            self.certificates.forget(&case.slug, &kept.version);
            return Err("the tenant is gone".to_owned());
        }
        let (until, issuer) = (kept.facts.not_after, kept.facts.issuer.clone());
        self.take_on(&case, kept).await?;
        tracing::info!(tenant.id = %tenant, issuer, not_after = %until, "a certificate is in place");
        Ok(format!("a certificate by {issuer} is good until {until}"))
    }

    async fn submit(&self, case: &Case, command: Command) -> Result<(), String> {
        match self.handle.submit(Submission::system(command, case.cause)).await {
            Ok(_) => Ok(()),
            Err(SubmitError::Rejected(rejection)) => Err(match rejection.hint.as_str() {
                "" => rejection.message,
                hint => format!("{}; {hint}", rejection.message),
            }),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Until when the present certificate is good, when it will do: the recorded one, or one
    /// that an attempt had put in place when it was cut off.
    async fn has_current(&self, case: &Case) -> Result<Option<Timestamp>, String> {
        let now = clock::now();
        let recorded = {
            let world = self.handle.world();
            let tenant = world.tenants.get(case.tenant).ok_or("the tenant is gone")?;
            tenant.tls.certificate.clone()
        };
        if let Some(known) = recorded
            && known.signer == case.signer
            && is_current(&known, &case.names, case.tenant, now)
            && self.certificates.files(&case.slug, &known.version).is_some()
        {
            self.configure(case.tenant).await?;
            return Ok(Some(known.not_after));
        }
        let Some(kept) = self.certificates.best(&case.slug, &case.names) else { return Ok(None) };
        let due = renewed_at(kept.facts.not_before, kept.facts.not_after, case.tenant);
        if signer_of(&kept) != case.signer || now >= due {
            return Ok(None);
        }
        let until = kept.facts.not_after;
        self.take_on(case, kept).await?;
        Ok(Some(until))
    }

    async fn sign(&self, case: &Case) -> Result<Signed, AcmeError> {
        if case.signer == Signer::SelfSigned {
            let made = self_signed(&case.names, clock::now());
            let (chain, key) =
                made.map_err(|error| AcmeError { detail: chain(&error), retry_after: None })?;
            return Ok(Signed { chain, key });
        }
        // It is never closed.
        let _place = self.orders.acquire().await;
        let mut authority = self.wanted.load().authority.clone();
        if let Some(contact) = self.handle.world().settings.value(setting::ACME_CONTACT) {
            authority.contact = Some(contact.to_owned());
        }
        // The authority asks the site, so it must be there.
        self.configure(case.tenant).await.map_err(|detail| AcmeError { detail, retry_after: None })?;
        acme::obtain(&authority, &case.names, |thumbprint| self.announce(case.tenant, thumbprint)).await
    }

    /// Has nginx answer challenges of the account with this thumbprint.
    async fn announce(&self, tenant: TenantId, thumbprint: String) -> Result<(), String> {
        let shared = self.nginx.shared().ok_or("it is not known yet where the proxy listens")?;
        if shared.thumbprint.as_ref() != Some(&thumbprint) {
            self.nginx.share(Shared { thumbprint: Some(thumbprint), ..shared });
        }
        self.configure(tenant).await.map(drop)
    }

    /// Records a certificate and puts it into the tenant's sites.
    async fn take_on(&self, case: &Case, kept: Kept) -> Result<(), String> {
        let version = kept.version.clone();
        let certificate = Box::new(Obtained {
            signer: signer_of(&kept),
            names: case.names.clone(),
            issuer: kept.facts.issuer,
            not_before: kept.facts.not_before,
            not_after: kept.facts.not_after,
            version: kept.version,
        });
        self.submit(case, Command::CertificateObtained { tenant_id: case.tenant, certificate }).await?;
        self.configure(case.tenant).await?;
        let (certificates, slug) = (self.certificates.clone(), case.slug.clone());
        let pruned = tokio::task::spawn_blocking(move || certificates.prune(&slug, &version)).await;
        pruned.map_err(|error| error.to_string())
    }

    /// Records a failure. As long as the certificate before is good it is none of the sites'.
    async fn failed(&self, case: &Case, error: AcmeError) -> Result<String, String> {
        let AcmeError { detail, retry_after } = error;
        tracing::warn!(tenant.id = %case.tenant, detail, "no certificate came of it");
        let barred_ms = retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let told = Command::CertificateRefused { tenant_id: case.tenant, detail: detail.clone(), barred_ms };
        self.submit(case, told).await?;
        let world = self.handle.world();
        let known = world.tenants.get(case.tenant).and_then(|tenant| tenant.tls.certificate.as_ref());
        let is_good = known.filter(|known| {
            clock::now() < known.not_after
                && known.names.open().is_some_and(|own| case.names.iter().all(|name| own.contains(name)))
                && self.certificates.files(&case.slug, &known.version).is_some()
        });
        match is_good {
            Some(known) if case.asked == Asked::ByAPerson => Ok(format!(
                "the certificate is good until {}; the next one failed: {detail}",
                known.not_after
            )),
            _ => Err(detail),
        }
    }
}
