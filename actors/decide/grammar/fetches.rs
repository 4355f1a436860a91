//! The sample fetches that a service may use, with their arguments.
//!
//! Source: `configuration.txt` 7.3, "Fetching samples", of HAProxy 2.2 to 3.4, and what `haproxy -dKall` lists. Fetches that
//! are missing reach outside the section, or show secrets and internals: see [`REFUSED`].

/// A row: names, separated by blanks, with the same arguments.
pub type Row = (&'static str, &'static str);

/// The fetches whose result is an IP address, with their arguments. The patterns of their ACLs are addresses, so that
/// HAProxy looks up no names.
#[rustfmt::skip]
pub const ADDRESSES: &[Row] = &[
    ("bc_dst bc_src dst fc_dst fc_src src url_ip", ""),
    ("ipv4 ipv6", "ip"),
    ("hdr_ip req.hdr_ip res.hdr_ip shdr_ip", "text?,number?"),
];

/// The other fetches with their arguments.
#[rustfmt::skip]
pub const FETCHES: &[Row] = &[
    // Constants, the process and the clock.
    ("always_false always_true act_conn date_us hostname nbproc pid proc quic_enabled stopping tgroup thread unique-id \
      uptime wait_end cpu_calls cpu_ns_avg cpu_ns_tot cpu_usage_grp cpu_usage_proc cpu_usage_thr lat_ns_avg lat_ns_tot \
      prio_class prio_offset", ""),
    ("bool str meth", "text"), ("bin", "hex"), ("int", "number"), ("var", "variable,text?"),
    ("date", "number?,text?"), ("accept_date request_date", "text?"), ("rand uuid", "number?"),
    // The connections.
    ("bc.timer.connect bc_be_queue bc_dst_port bc_err bc_err_name bc_err_str bc_glitches bc_http_major bc_nb_streams \
      bc_reused bc_setting_streams_limit bc_settings_streams_limit bc_src_port bc_srv_queue be_connect_timeout be_id be_name \
      be_queue_timeout be_server_timeout be_tarpit_timeout be_tunnel_timeout bytes_in bytes_out cur_client_timeout \
      cur_connect_timeout cur_queue_timeout cur_server_timeout cur_tarpit_timeout cur_tunnel_timeout dst_conn dst_is_local \
      dst_port fc.timer.handshake fc.timer.total fc_dst_is_local fc_dst_port fc_err fc_err_name fc_err_str fc_glitches \
      fc_http_major fc_nb_streams fc_pp_authority fc_pp_unique_id fc_rcvd_proxy fc_saved_syn fc_settings_streams_limit \
      fc_src_is_local fc_src_port fe_client_timeout fe_defbe fe_id fe_name fe_tarpit_timeout res.timer.data so_id so_name \
      src_is_local src_port srv_id srv_name server_status bs.aborted bs.id bs.rst_code fs.aborted fs.id fs.rst_code", ""),
    ("bc_rtt bc_rttvar fc_fackets fc_lost fc_reordering fc_retrans fc_rtt fc_rttvar fc_sacked fc_unacked", "text?"),
    ("fc_pp_tlv", "text"),
    // Requests and responses.
    ("base base32 base32+src baseq capture.req.method capture.req.uri capture.req.ver capture.res.ver http_auth_pass \
      http_auth_type http_auth_user http_first_req method path pathq req.body req.body_len req.body_size req.bytes_in \
      req.bytes_out req.hdrs req.hdrs_bin req.len req.proto_http req.timer.hdr req.timer.idle req.timer.queue req.timer.tq \
      req.ver req_len req_proto_http req_ver res.body res.body_len res.body_size res.bytes_in res.bytes_out res.comp \
      res.comp_algo res.hdrs res.hdrs_bin res.len res.timer.hdr res.ver resp_ver status txn.conn_retries txn.id32 \
      txn.redispatched txn.sess_term_state txn.status txn.timer.total txn.timer.user url url32 url32+src url_port \
      fcgi.docroot fcgi.index", ""),
    ("hdr hdr_val req.fhdr req.hdr req.hdr_val res.fhdr res.hdr res.hdr_val shdr shdr_val", "text?,number?"),
    ("hdr_cnt req.fhdr_cnt req.hdr_cnt req.hdr_names res.fhdr_cnt res.hdr_cnt res.hdr_names shdr_cnt cook cook_cnt cook_val \
      cookie http_auth_bearer query rdp_cookie rdp_cookie_cnt req_rdp_cookie req_rdp_cookie_cnt req.cook req.cook_cnt \
      req.cook_names req.cook_val req.rdp_cookie req.rdp_cookie_cnt res.cook res.cook_cnt res.cook_names res.cook_val scook \
      scook_cnt scook_val", "text?"),
    ("req.body_param", "text?,text?"), ("url_param urlp urlp_val", "text?,text?,text?"),
    ("capture.req.hdr capture.res.hdr", "number"), ("payload req.payload res.payload", "number,number"),
    ("payload_lv req.payload_lv res.payload_lv", "number,number,text?"), ("distcc_body distcc_param", "text,number?"),
    // TLS.
    ("rep_ssl_hello_type req.ssl_alpn req.ssl_cipherlist req.ssl_ec_ext req.ssl_hello_type req.ssl_keyshare_groups \
      req.ssl_sigalgs req.ssl_sni req.ssl_st_ext req.ssl_supported_groups req.ssl_ver req_ssl_hello_type req_ssl_sni \
      req_ssl_ver res.ssl_hello_type ssl_bc ssl_bc_alg_keysize ssl_bc_alpn ssl_bc_cipher ssl_bc_curve ssl_bc_err \
      ssl_bc_err_str ssl_bc_is_resumed ssl_bc_npn ssl_bc_protocol ssl_bc_session_id ssl_bc_sni ssl_bc_unique_id \
      ssl_bc_use_keysize ssl_c_ca_err ssl_c_ca_err_depth ssl_c_chain_der ssl_c_der ssl_c_err ssl_c_key_alg ssl_c_notafter \
      ssl_c_notbefore ssl_c_san ssl_c_serial ssl_c_sha1 ssl_c_sig_alg ssl_c_used ssl_c_verify ssl_c_version ssl_f_der \
      ssl_f_key_alg ssl_f_notafter ssl_f_notbefore ssl_f_serial ssl_f_sha1 ssl_f_sig_alg ssl_f_version ssl_fc \
      ssl_fc_alg_keysize ssl_fc_alpn ssl_fc_cipher ssl_fc_cipherlist_xxh ssl_fc_crtname ssl_fc_curve ssl_fc_early_rcvd \
      ssl_fc_ecformats_bin ssl_fc_err ssl_fc_err_str ssl_fc_has_crt ssl_fc_has_early ssl_fc_has_sni ssl_fc_is_resumed \
      ssl_fc_npn ssl_fc_protocol ssl_fc_protocol_hello_id ssl_fc_session_id ssl_fc_sni ssl_fc_unique_id ssl_fc_use_keysize \
      ssl_s_chain_der ssl_s_der ssl_s_key_alg ssl_s_notafter ssl_s_notbefore ssl_s_serial ssl_s_sha1 ssl_s_sig_alg \
      ssl_s_version", ""),
    ("ssl_c_i_dn ssl_c_r_dn ssl_c_s_dn ssl_f_i_dn ssl_f_s_dn ssl_s_i_dn ssl_s_s_dn", "text?,number?,text?"),
    ("ssl_fc_cipherlist_bin ssl_fc_cipherlist_hex ssl_fc_cipherlist_str ssl_fc_eclist_bin ssl_fc_extlist_bin \
      ssl_fc_sigalgs_bin ssl_fc_supported_versions_bin", "number?"),
    // The section, its servers and its stick table.
    ("avg_queue be_conn be_conn_free be_sess_rate connslots nbsrv queue fe_conn fe_req_rate fe_sess_rate table_avl \
      table_cnt", "own-section?"),
    ("srv_conn srv_conn_free srv_is_up srv_iweight srv_queue srv_sess_rate srv_uweight srv_weight", "own-server"),
    ("src_bytes_in_rate src_bytes_out_rate src_clr_gpc0 src_clr_gpc1 src_conn_cnt src_conn_cur src_conn_rate src_get_gpc0 \
      src_get_gpc1 src_get_gpt0 src_glitch_cnt src_glitch_rate src_gpc0_rate src_gpc1_rate src_http_err_cnt \
      src_http_err_rate src_http_fail_cnt src_http_fail_rate src_http_req_cnt src_http_req_rate src_inc_gpc0 src_inc_gpc1 \
      src_kbytes_in src_kbytes_out src_sess_cnt src_sess_rate src_updt_conn_cnt", "own-section?"),
    ("src_clr_gpc src_get_gpc src_get_gpt src_gpc_rate src_inc_gpc", "number,own-section?"),
    ("sc_bytes_in_rate sc_bytes_out_rate sc_clr_gpc0 sc_clr_gpc1 sc_conn_cnt sc_conn_cur sc_conn_rate sc_get_gpc0 \
      sc_get_gpc1 sc_get_gpt0 sc_glitch_cnt sc_glitch_rate sc_gpc0_rate sc_gpc1_rate sc_http_err_cnt sc_http_err_rate \
      sc_http_fail_cnt sc_http_fail_rate sc_http_req_cnt sc_http_req_rate sc_inc_gpc0 sc_inc_gpc1 sc_kbytes_in \
      sc_kbytes_out sc_sess_cnt sc_sess_rate sc_tracked sc_trackers", "number,own-section?"),
    ("sc_key", "number"),
    ("sc_clr_gpc sc_get_gpc sc_get_gpt sc_gpc_rate sc_inc_gpc", "number,number,own-section?"),
    ("sc0_key sc1_key sc2_key", ""),
];

/// The fetches of counters that exist for the first three of them: `sc0_conn_rate`, `sc1_conn_rate`, `sc2_conn_rate`.
#[rustfmt::skip]
pub const OF_COUNTERS: &[&str] = &[
    "bytes_in_rate", "bytes_out_rate", "clr_gpc0", "clr_gpc1", "conn_cnt", "conn_cur", "conn_rate", "get_gpc0", "get_gpc1",
    "get_gpt0", "glitch_cnt", "glitch_rate", "gpc0_rate", "gpc1_rate", "http_err_cnt", "http_err_rate", "http_fail_cnt",
    "http_fail_rate", "http_req_cnt", "http_req_rate", "inc_gpc0", "inc_gpc1", "kbytes_in", "kbytes_out", "sess_cnt",
    "sess_rate", "tracked", "trackers",
];

/// The ACL keywords with a matching method in their name, and the methods: `path_beg`, `hdr_reg(host)`.
pub const ACL_BASES: &[&str] =
    &["base", "cook", "hdr", "path", "scook", "shdr", "url", "urlp", "url_param", "ssl_fc_sni"];

/// See [`ACL_BASES`].
pub const ACL_METHODS: &[&str] = &["beg", "dir", "dom", "end", "len", "reg", "sub"];

/// Fetches that HAProxy also takes as ACL keywords: the word after them is always a pattern, and never a converter.
pub const ACL_KEYWORDS: &[&str] = &["base", "cook", "hdr", "method", "path", "scook", "shdr", "url", "urlp"];

/// Fetches that a service may not use, with the reason.
#[rustfmt::skip]
pub const REFUSED: &[(&str, &str)] = &[
    ("env", "it reads the environment of HAProxy"),
    ("http_auth http_auth_group", "it refers to a userlist, which is a section of the base configuration"),
    ("acl", "it evaluates ACLs that may evaluate others in turn, without a bound"),
    ("dump_all_vars", "it shows the variables of the whole process"),
    ("last_rule_file last_rule_line last_entity waiting_entity term_events bs.debug_str fs.debug_str spoe.engine-id",
     "it shows internals of HAProxy"),
    ("res.cache_hit res.cache_name", "it refers to a cache, which is a section of the base configuration"),
];
