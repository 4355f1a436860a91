//! The quota of hosts: of one service, and of all services together.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::decide::grants::HostGrant;
use crate::model::Quotas;

/// The quota that all services share.
#[derive(Debug, Clone)]
pub struct HostQuota {
    per_service: usize,
    total: usize,
    /// The number of hosts that all services have now.
    counted: Rc<Cell<usize>>,
}

/// The hosts of one service. They are given back when it is dropped.
#[derive(Debug)]
pub struct HostShare {
    quota: HostQuota,
    /// The most hosts that its grant allows, in place of the quota of one service.
    granted: Option<usize>,
    hosts: usize,
}

/// A list with more hosts than a quota allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaExceeded {
    /// More than one service may have.
    Service {
        /// The number of hosts in the list.
        hosts: usize,
        /// The quota.
        quota: usize,
    },
    /// More than its grant allows.
    Grant {
        /// The number of hosts in the list.
        hosts: usize,
        /// The number that is granted.
        granted: usize,
    },
    /// More than all services together may have.
    Total {
        /// The number of hosts in the list.
        hosts: usize,
        /// The number of hosts of all other services.
        others: usize,
        /// The quota.
        quota: usize,
    },
}

impl HostQuota {
    /// Creates a quota of which nothing is used.
    pub fn new(quotas: &Quotas) -> Self {
        Self { per_service: quotas.hosts_per_service, total: quotas.hosts, counted: Rc::default() }
    }

    /// Returns the share of a service that has these hosts already.
    pub fn share(&self, hosts: usize) -> HostShare {
        self.counted.set(self.counted.get() + hosts);
        HostShare { quota: self.clone(), granted: None, hosts }
    }
}

impl HostShare {
    /// Applies the grant of the service.
    pub fn grant(&mut self, HostGrant { count, .. }: &HostGrant) {
        self.granted = *count;
    }

    /// Changes the number of hosts. A list that does not grow always passes.
    ///
    /// # Errors
    /// The quota that the list exceeds; the previous number stays.
    pub fn change(&mut self, hosts: usize) -> Result<(), QuotaExceeded> {
        let HostQuota { per_service, total, counted } = &self.quota;
        let others = counted.get() - self.hosts;
        if hosts > self.hosts {
            if let Some(granted) = self.granted.filter(|granted| hosts > *granted) {
                return Err(QuotaExceeded::Grant { hosts, granted });
            }
            if self.granted.is_none() && hosts > *per_service {
                return Err(QuotaExceeded::Service { hosts, quota: *per_service });
            }
            if others + hosts > *total {
                return Err(QuotaExceeded::Total { hosts, others, quota: *total });
            }
        }
        counted.set(others + hosts);
        self.hosts = hosts;
        Ok(())
    }
}

impl Drop for HostShare {
    fn drop(&mut self) {
        let counted = &self.quota.counted;
        counted.set(counted.get() - self.hosts);
    }
}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { hosts, quota } => {
                write!(f, "too many hosts: the list has {hosts}, and quotas.hosts_per_service is {quota}")
            }
            Self::Grant { hosts, granted } => {
                write!(
                    f,
                    "too many hosts: the list has {hosts}, and the service's grant allows {granted} (grants, hosts)"
                )
            }
            Self::Total { hosts, others, quota } => write!(
                f,
                "too many hosts: the list has {hosts}, all other services {others}, and quotas.hosts is {quota}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota() -> HostQuota {
        HostQuota::new(&Quotas { hosts_per_service: 4, hosts: 6, ..Quotas::default() })
    }

    #[test]
    fn service_is_bounded() {
        let mut web = quota().share(0);
        assert_eq!(web.change(4), Ok(()));
        assert_eq!(web.change(5), Err(QuotaExceeded::Service { hosts: 5, quota: 4 }));
        assert_eq!(web.change(3), Ok(()));
    }

    #[test]
    fn all_services_are_bounded_together() {
        let quota = quota();
        let (mut web, mut api) = (quota.share(3), quota.share(0));
        assert_eq!(api.change(4), Err(QuotaExceeded::Total { hosts: 4, others: 3, quota: 6 }));
        assert_eq!(api.change(3), Ok(()));
        assert_eq!(web.change(4), Err(QuotaExceeded::Total { hosts: 4, others: 3, quota: 6 }));
        drop(api);
        assert_eq!(web.change(4), Ok(()));
    }

    #[test]
    fn service_over_its_quota_may_shrink() {
        let quota = quota();
        let mut web = quota.share(9);
        assert_eq!(web.change(8), Ok(()), "hosts of an earlier run with a larger quota");
        assert!(web.change(9).is_err());
        assert!(quota.share(0).change(1).is_err(), "others get none meanwhile");
    }
}
