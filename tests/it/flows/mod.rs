//! What the server does, from outside: a file for each part of the specifications, each test on both databases, each with its attacks.
//!
//! Which test attacks which row of the security requirements (R-58 to belong to endpoints that are not
//! here yet: outbound fetches, the exchange grant, DPoP).
//!
//! | row | attacked by |
//! |---|---|
//! | R-01 | `authorize::codes_have_full_entropy`, `refresh::a_token_is_of_one_length_and_not_stored` |
//! | R-02 | `code::a_code_is_bound_to_its_client`, `code::a_code_dies_after_a_minute`, `code::one_artefact_in_anothers_place_consumes_nothing`, `device::a_device_code_is_bound_to_its_client` |
//! | R-03 | `races::fifty_redemptions_of_one_code_give_one_set_of_tokens`, `binary::killing_it_loses_nothing_that_was_acknowledged`, `device::fifty_polls_give_one_set_of_tokens` |
//! | R-04 | `races::fifty_redemptions_of_one_code_give_one_set_of_tokens` |
//! | R-05 | `code::a_replayed_code_revokes_its_grant`, `code::an_honest_retry_is_refused_and_revokes_nothing` |
//! | R-06 | `code::a_code_is_bound_to_its_client` |
//! | R-07 | `code::a_code_dies_after_a_minute` |
//! | R-08 | `code::a_code_is_bound_to_its_redirect_uri` |
//! | R-09 | `code::a_disabled_user_or_client_gets_nothing_from_an_old_code`, `login::disabling_ends_everything_in_one_step`, `device::whoever_is_switched_off_lets_no_device_in` |
//! | R-10 | `code::one_artefact_in_anothers_place_consumes_nothing`, `device::one_artefact_in_anothers_place_consumes_nothing` |
//! | R-11 | `edge::a_database_that_goes_away_and_comes_back`, `crate::faults::kills` |
//! | R-12 | no endpoint takes client assertions or DPoP proofs, so there is no replay cache; `client_auth::one_method_per_request` sees assertions refused |
//! | R-13 | `authorize::until_client_and_redirect_are_proved_nothing_is_redirected`, `attacks_pages::a_redirect_uri_that_was_taken_off_gets_no_code` |
//! | R-14 | `authorize::the_redirect_uri_is_compared_byte_for_byte`, `authorize::a_loopback_redirect_of_a_native_client_may_name_any_port` |
//! | R-15 | `registration::redirect_uris_that_nobody_should_register_are_refused`, `dynamic_registration::registering::what_cannot_be_registered_is_refused_by_its_own_error` |
//! | R-16 | `authorize::pkce_is_demanded_and_only_s256`, `code::a_code_is_bound_to_its_verifier` |
//! | R-17 | `authorize::what_is_not_offered_is_refused_by_its_own_error`, `authorize::form_post_serves_success_and_error_alike`, `attacks_pages::an_apps_own_scheme_gets_its_error_in_the_query` |
//! | R-18 | `authorize::state_and_nonce_come_back_exactly_or_not_at_all`; every error passes `Answer::refused` or `Callback::refused` |
//! | R-19 | `authorize::every_parameter_may_come_once`, `code::every_request_at_the_token_endpoint_is_read_strictly`, `attacks_tokens::query_and_body_never_speak_with_two_voices` |
//! | R-20 | `authorize::parameters_are_decoded_strictly_and_have_limits`, `claims::a_broken_claims_parameter_is_refused` |
//! | R-21 | `prompt::*`, among them `prompt::max_age_is_measured_when_the_login_completes`, `attacks_pages::prompts_by_the_letter`, `attacks_pages::a_hint_of_somebody_else_asks_for_that_person`, `parameters::*`, `claims::the_person_asked_for_by_value_is_the_one_or_nobody`, `claims::an_essential_level_is_reached_or_there_is_no_answer` |
//! | Core 8.1 | `pairwise::two_sectors_never_see_one_subject`, `pairwise::a_hint_speaks_of_the_clients_own_subject`, `pairwise::several_hosts_are_refused` |
//! | R-22 | `authorize::an_interaction_belongs_to_its_browser`, `consent::the_page_says_who_asks_for_what_and_where_it_leads`, `attacks_pages::no_page_can_be_skipped`, `attacks_pages::one_answer_to_a_page_counts_however_many_are_sent_at_once` |
//! | R-23 | `authorize::post_works_as_get_does`, `login::pages_carry_the_headers_of_a_page`, `edge::what_must_not_be_cached_is_not` |
//! | R-24 | `consent::consent_is_remembered_and_asked_again_when_scopes_grow`, `consent::native_clients_are_asked_every_time`, `attacks_pages::consent_covers_what_the_page_named_and_nothing_else`, `claims::what_the_page_did_not_name_is_not_agreed_to`, `claims::a_claim_is_no_way_around_its_scope` |
//! | R-25 | `client_auth::each_client_uses_the_method_it_registered`, `client_auth::one_method_per_request` |
//! | R-26 | `client_auth::the_basic_header_is_read_strictly` |
//! | R-27 | `client_auth::unknown_client_and_wrong_secret_look_the_same` |
//! | R-28 | `client_auth::secrets_in_the_query_are_refused`, `binary::logs_hold_no_secrets`, `attacks_tokens::query_and_body_never_speak_with_two_voices` |
//! | R-29, R-12 | `private_key_jwt::*`, the claims in `src/oauth/client_auth/private_key_jwt.rs`, the table in `storage::sweep` |
//! | R-30 | `client_auth::each_client_uses_the_method_it_registered` |
//! | R-31 | `registration::an_update_is_checked_as_a_whole`, `dynamic_registration::managing::an_update_resets_what_it_leaves_out_and_keeps_ours`, `sealed::encryption_without_a_key_to_encrypt_to_is_refused`, `setup::a_file_with_any_fault_is_refused_whole_with_its_lines`, `dynamic_registration::managing::what_an_operator_changed_stays_changed` |
//! | R-32 | `client_auth::both_secrets_work_while_one_is_rotated_out`, `setup::secrets_are_rotated_by_the_file_and_told_by_nothing` |
//! | R-33 | `userinfo::what_is_no_token_is_refused_with_a_challenge`, `attacks_tokens::tokens_of_foreign_keys_and_odd_headers_are_nothing`, `sealed::an_algorithm_that_is_not_offered_is_refused` |
//! | R-33 to R-38, what clients sign | `private_key_jwt::forgeries_prove_nothing`, `src/jose/theirs.rs`, `src/jose/jwk_set.rs` |
//! | R-34 to R-37 | `attacks_tokens::tokens_of_foreign_keys_and_odd_headers_are_nothing`, `attacks_tokens::a_signature_of_ours_is_not_enough`, the unit tests of `src/jose` |
//! | R-38 | `code::one_artefact_in_anothers_place_consumes_nothing`, `prompt::a_hint_names_the_person`, `logout::anything_less_ends_on_a_page`, `attacks_tokens::a_signature_of_ours_is_not_enough`, `sealed::userinfo_is_signed_for_those_who_registered_it`, `sealed::an_encrypted_hint_is_refused_and_says_what_to_send` |
//! | R-39 | `discovery::the_jwks_holds_public_members_only`, `keys::a_compromised_signing_key_is_believed_nowhere`, the life of keys in `src/jose/life.rs` and `src/service/keys.rs` |
//! | R-40 | deny.toml bans the crate; `./test` runs it |
//! | R-41 | `refresh::an_old_generation_after_the_burst_is_theft`, `refresh::strict_clients_have_no_burst` |
//! | R-42 | `races::concurrent_refreshes_leave_one_live_head` |
//! | R-43 | `races::after_a_revoke_answered_nothing_of_the_family_is_active`, `account::nothing_survives_an_end_that_was_acknowledged` |
//! | R-44 | `refresh::a_family_idles_out_and_ages_out` |
//! | R-45 | `refresh::scope_narrows_one_access_token_only` |
//! | R-46 | `refresh::a_password_change_ends_them_all`, `login::disabling_ends_everything_in_one_step`, `factors::what_waits_ends_with_the_password_and_the_account`, `factors::a_reset_lets_in_with_the_password_and_ends_all_else`, `attacks_pages::what_hung_on_an_expired_session_stays_dead`, `admin::people::disabling_and_removing_end_everything_at_once`, `groups::a_person_who_is_removed_leaves_nothing_alive`, `account::a_new_password_ends_everything_and_goes_on_here`, `account::of_two_changes_of_a_password_one_counts`, `account::everywhere_else_is_everywhere_else` |
//! | R-47 | `introspect_revoke::a_foreign_or_unknown_token_is_a_silent_success`, `introspect_revoke::revoking_a_refresh_token_ends_everything` |
//! | R-48 | `introspect_revoke::only_those_who_may_learn_anything`, `introspect_revoke::nobody_finds_tokens_by_trying` |
//! | R-49 | `userinfo::a_token_is_read_from_the_database_too`, `userinfo::a_dead_token_is_invalid_whatever_it_lacks` |
//! | R-50 | `login::signing_in_gives_a_new_cookie_and_keeps_it_safe`, `logout::the_session_and_what_hangs_on_it_end`, `attacks_pages::cookies_of_others_do_not_hide_ours`, `factors::an_old_session_does_not_satisfy_a_demand`, `account::confirming_renews_the_cookie_and_tells_clients_nothing`, `account::what_others_have_cannot_be_ended` |
//! | R-51 | `login::a_form_needs_its_token_its_cookie_and_its_origin`, `consent::the_decision_cannot_be_forged`, `logout::the_form_cannot_be_forged`, `attacks_pages::a_page_shown_to_one_person_is_not_answered_for_another`, `attacks_pages::a_sign_out_page_signs_out_the_person_it_named_alone`, `device::the_decision_cannot_be_forged`, `account::the_forms_cannot_be_forged`, `account::a_page_of_an_ended_or_expired_session_does_nothing` |
//! | R-52 | `login::pages_carry_the_headers_of_a_page`; in Chromium: `tests/clients/browser/pages.test.js` |
//! | R-53 | `names::names_that_deceive_are_refused_wherever_they_are_given`, `consent::the_page_says_who_asks_for_what_and_where_it_leads`; in Chromium: `what a client calls itself is text, never markup`, `account::a_profile_is_edited_and_apps_are_told` |
//! | R-54 | `login::every_failing_branch_looks_the_same`, `login::every_failing_branch_costs_the_same`, `attacks_pages::being_slowed_down_says_nothing_about_the_account`, `account::confirming_is_slowed_down_and_fails_like_a_sign_in`, `account::a_wrong_current_password_counts_like_a_sign_in` |
//! | R-55 | `login::guesses_are_slowed_down_and_never_lock_for_ever`, `device::guesses_of_codes_are_slowed_down_and_sign_ins_are_not`, `account::confirming_is_slowed_down_and_fails_like_a_sign_in` |
//! | R-55, second factors | `factors::guesses_of_passwords_and_codes_are_counted_together`, `factors::a_code_counts_once`, `factors::of_many_who_send_one_code_at_once_one_gets_in`, `factors::the_step_cannot_be_skipped`, `passkeys::failures_count_with_all_others`, `passkeys::an_answer_counts_once` |
//! | R-56 | `login::every_failing_branch_looks_the_same` (over-long), the pool's own tests in `src/service/passwords.rs` |
//! | R-57 | `logout::anything_less_ends_on_a_page`, `logout::without_a_hint_a_page_asks_first`, `logout::without_a_hint_the_person_is_asked_and_stays`, `logout::what_was_wrong_is_on_record`, `logout::a_replayed_form_ends_nobody_elses_session`, `attacks_pages::a_sign_out_that_was_confirmed_leads_back_too` |
//! | R-58 to R-60 | `private_key_jwt::nobody_is_sent_into_our_network`, `private_key_jwt::keys_that_cannot_be_fetched_look_like_a_wrong_signature`, the fetcher's own tests in `src/service/outbound` |
//! | R-61 | `dynamic_registration::registering::every_address_passes_the_validator`, `registration::an_update_is_checked_as_a_whole` |
//! | R-62 | `dynamic_registration::*`, among them `dynamic_registration::managing::an_answer_that_was_lost_locks_nobody_out`, `dynamic_registration::registering::the_limits_of_a_token_hold`, `dynamic_registration::registering::only_what_the_registry_names_can_be_set`, `dynamic_registration::managing::the_management_token_dies_with_its_client`, `dynamic_registration::registering::fifty_registrations_with_a_token_for_three_give_three` |
//! | R-65 | `device::nobody_but_the_first_who_looked_decides`, `device::guesses_of_codes_are_slowed_down_and_sign_ins_are_not`, `device::nothing_of_a_code_is_in_the_database`, `device::a_code_that_nobody_decides_about_expires`, `device::the_decision_cannot_be_forged`; the life of a code against a model in `src/oauth/device/model.rs` |
//! | R-66 | `device::a_device_code_is_bound_to_its_client`, `device::polls_that_come_too_soon_slow_down_on_every_replica`, `device::fifty_polls_give_one_set_of_tokens` |
//! | R-67 | `device::the_page_says_who_asks_for_what_and_from_where`; in Chromium: `device.test.js` |
//! | R-70 | `admin::every_operation_needs_its_right`, `golden::the_admin_operations_are_these`, `admin::what_has_no_row_is_refused` |
//! | R-71 | `admin::only_a_token_made_for_the_admin_api_counts`, `admin::a_token_counts_while_everything_behind_it_stands` |
//! | R-72 | `admin::unknown_and_reserved_members_are_refused_by_name`, `registration::*`; the policy of `src/oauth/client/validate.rs`, `admin::people::what_the_server_sets_and_nobody_knows_is_refused_by_name`, `admin::people::a_name_that_looks_like_an_id_opens_nothing`, `groups::no_mapping_replaces_a_claim_of_the_specifications`, `groups::a_new_address_is_not_verified_because_the_old_one_was`, `account::nobody_makes_more_of_themselves`, `account::what_an_operator_changes_stays_changed` |
//! | R-73 | `admin::secrets_are_told_once_and_two_live`, `admin::cursors_cannot_be_made_up_or_moved`, `admin::people::a_password_goes_in_and_never_comes_out`, `admin::people::people_are_found_by_what_has_an_index` |
//! | R-74 | `admin::every_change_is_in_the_audit_log`, `admin::audit::no_secret_is_in_the_log`, `audit::what_people_apps_and_operators_do_is_in_the_log`, `audit::the_list_is_what_the_code_writes` |
//! | R-75 | `attacks_server::a_line_of_a_head_ends_in_cr_and_lf`, `edge::heads_and_bodies_have_limits`, `edge::slow_connections_are_closed`, `edge::connections_of_one_address_are_capped`, `server::neither_slow_senders_nor_those_who_hang_up_take_a_place` |
//! | R-76 | `edge::slow_connections_are_closed`, `server`, the accept loop's own tests, `attacks_server::a_request_that_could_be_two_is_one_or_none`, `attacks_server::a_request_has_one_host_and_it_is_one` |
//! | R-77 | `edge::too_many_open_sign_ins_are_refused`, `attacks_pages::saying_no_gives_the_place_back_on_sqlite`, `device::too_many_open_device_codes_are_refused`, `dynamic_registration::registering::what_is_open_to_everybody_has_bounds`, `dynamic_registration::managing::a_client_changes_itself_so_often_and_no_more`, `edge::many_who_ask_for_an_origin_at_once_cause_one_reading` |
//! | R-78 | the registry's and the throttle's own tests: a cache is no endpoint |
//! | R-79 | `edge::too_many_open_sign_ins_are_refused`, `login::guesses_are_slowed_down_and_never_lock_for_ever`, `attacks_server::a_write_that_takes_its_time_holds_up_no_reader`, `server::who_finds_no_place_is_told_to_come_back_in_time`, `crate::faults::overload` |
//! | R-80 | `edge::broken_requests_never_break_the_server`; `Site::note` fails every test that meets a 5xx |
//! | R-81 | `discovery::the_host_header_changes_nothing`, `attacks_pages::the_host_that_was_asked_for_appears_nowhere`, `traces::only_a_configured_proxy_says_which_trace_a_request_belongs_to` |
//! | R-82 | `serve::the_server_refuses_to_start_where_it_would_be_unsafe`, `serve::a_wrong_master_key_on_an_existing_database_refuses_to_start_and_changes_nothing` |
//! | R-83 | `refresh::a_token_is_of_one_length_and_not_stored` reads a copy of the database; `src/seal` holds the rest |
//! | R-84 | `binary::logs_hold_no_secrets`, `process::every_line_of_the_log_is_json_and_none_holds_what_was_sent`, `traces::a_request_is_a_trace_of_its_own_id_and_holds_no_secret` |
//! | R-85 | `edge::what_must_not_be_cached_is_not` |
//! | R-86 | `edge::cors_is_for_registered_origins_and_never_with_credentials`; in Chromium: `single-page-app.test.js` |
//! | R-87 | `runbooks::*`: every section of docs/runbooks.md |
//! | R-88 | `edge::health_says_nothing_else` (no debug endpoints), `process::a_crash_leaves_no_core_dump`; wiping is in `src/secret.rs` |
//! | R-89 | `binary::killing_it_loses_nothing_that_was_acknowledged` |
//! | R-90 | `storage::blocking`, `races::two_replicas_start_together_on_sqlite`, `races::two_replicas_start_together_on_postgres` |
//! | R-91 | `edge::a_database_that_goes_away_and_comes_back`, `edge::hanging_up_poisons_nothing` |
//! | R-92 | `process::sigterm_takes_readiness_down_finishes_what_is_in_flight_and_exits_with_0`; under systemd: `tests/python/test_systemd.py` |
//! | R-93 | `tests/it/storage`: the sweep of each table; `plateau::a_sweep_of_much_holds_up_few` prints what it does to the p99 |
//! | R-94 | `code::a_clock_that_was_set_back_revives_nothing` |

mod account;
mod admin;
mod attacks_pages;
mod attacks_server;
mod attacks_tokens;
mod audit;
mod authorize;
mod backchannel;
mod binary;
mod claims;
mod cli;
mod client_auth;
mod client_credentials;
mod code;
mod consent;
mod decisions;
mod device;
mod discovery;
mod doctor;
mod dynamic_registration;
mod edge;
mod factors;
mod groups;
mod health;
mod honesty;
mod introspect_revoke;
mod jar;
mod keys;
mod login;
mod logout;
mod names;
mod pairwise;
mod parameters;
mod passkeys;
mod passwords;
mod private_key_jwt;
mod process;
mod prompt;
mod races;
mod refresh;
mod registration;
mod runbooks;
mod sealed;
mod serve;
mod server;
mod setup;
mod tls;
mod traces;
mod userinfo;
