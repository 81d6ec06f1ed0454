// What the app asks over HTTP.

import axios from 'axios';

export const SERVER_URL = import.meta.env.VITE_SERVER_URL;

const api = axios.create({ baseURL: SERVER_URL });

api.interceptors.request.use((config) => {
  const token = localStorage.getItem('token');
  if (token) config.headers.Authorization = `Bearer ${token}`;
  return config;
});

export const fetchNotifications = async (userId) => (await api.get(`/api/notifications/${userId}`)).data;

export const sendNotification = (receiverId, message) => api.post('/api/notifications', { receiverId, message });

export const markAsRead = (id) => api.put(`/api/notifications/${id}/read`);

export const sendEmail = async (email, subject, message) =>
  (await api.post('/jobs/send-email', { email, subject, message })).data.message;
